//! Compares the transcoding engine with prost-reflect over random schemas, messages and texts. The tests run it over
//! seeded scripts, and the fuzz target `transcode` over arbitrary ones.

#![allow(dead_code, reason = "the tests and the fuzz target use their own parts")]

pub(crate) mod exceptions;
pub(crate) mod json;
pub(crate) mod laws;
pub(crate) mod schema;
pub(crate) mod script;
pub(crate) mod streams;
pub(crate) mod wire;

use json::JsonMaker;
use json::mutate_text;
use schema::World;
use script::Script;
use wire::WireMaker;
use wire::mutate_bytes;

/// Runs a script: a schema, then texts and messages of it as long as the script lasts.
///
/// # Panics
/// When a law of [`laws`] is broken; the message has the schema and the input.
pub(crate) fn drive(script: &[u8]) {
    let mut script = Script::new(script);
    let world = World::new(&mut script);
    for _ in 0..ROUNDS_MAX {
        if script.is_over() {
            return;
        }
        // How rarely something odd is made; 0 is never.
        let odd = script.pick(&[0, 40, 6]);
        let is_mutated = script.below(3) == 2;
        if script.below(2) == 0 {
            let mut maker = JsonMaker { script: &mut script, odd, out: String::new() };
            maker.message(&world.root, 0);
            let mut text = maker.out.into_bytes();
            if is_mutated {
                mutate_text(&mut text, &mut script);
            }
            laws::check_text(&world, &text);
        } else {
            let mut bytes = WireMaker { script: &mut script, odd }.message(&world.root, 0);
            if is_mutated {
                mutate_bytes(&mut bytes, &mut script);
            }
            laws::check_bytes(&world, &bytes, laws::options(script.byte()));
        }
    }
}

/// Texts and messages of one schema.
const ROUNDS_MAX: usize = 64;
