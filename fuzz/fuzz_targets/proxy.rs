//! Reads arbitrary bytes as PROXY headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| transom::wire::proxy::drive(script));
