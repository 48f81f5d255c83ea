//! Runs arbitrary scripts over the HTTP/1.1 guard.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| transom::wire::h1_guard::drive(script));
