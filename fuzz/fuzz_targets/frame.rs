//! Runs arbitrary scripts over the gRPC frame readers.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| transom::wire::frame::drive(script));
