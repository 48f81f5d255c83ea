//! Reads arbitrary bytes as `X-Forwarded-For` and `Forwarded`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| transom::call::forwarded::drive(script));
