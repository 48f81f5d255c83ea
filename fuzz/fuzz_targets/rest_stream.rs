//! Runs arbitrary scripts over the bodies and replies of REST, each cut in several ways.
#![no_main]

#[path = "../../tests/support/transcode/mod.rs"]
mod transcode;

libfuzzer_sys::fuzz_target!(|script: &[u8]| transcode::streams::drive(script));
