//! Runs arbitrary scripts over the HTTP/2 guard.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| transom::wire::h2_guard::drive(script, std::time::Instant::now()));
