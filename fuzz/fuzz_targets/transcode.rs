//! Runs arbitrary scripts over the transcoding engine and prost-reflect: schemas, texts and messages.
#![no_main]

#[path = "../../tests/support/transcode/mod.rs"]
mod transcode;

libfuzzer_sys::fuzz_target!(|script: &[u8]| transcode::drive(script));
