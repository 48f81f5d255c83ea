//! `round_robin`: in turn, smoothly by weight.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::config::types::Balance;
use crate::upstream::balance::Kind;
use crate::upstream::balance::Picker;

/// The kind `round_robin`.
pub(super) struct RoundRobin;

impl Kind for RoundRobin {
    fn balance(&self) -> Balance {
        Balance::RoundRobin
    }

    fn build(&self, weights: &[u32]) -> Box<dyn Picker> {
        build(weights)
    }
}

pub(super) fn build(weights: &[u32]) -> Box<dyn Picker> {
    let turns = weights.iter().map(|weight| Turn { weight: i64::from(*weight), credit: 0 }).collect();
    Box::new(Smooth(Mutex::new(turns)))
}

/// Smooth weighted round robin: each pick gives every usable endpoint its weight in credit,
/// and the richest pays the sum. A heavy endpoint's turns are spread, not bunched.
struct Smooth(Mutex<Vec<Turn>>);

struct Turn {
    weight: i64,
    credit: i64,
}

impl Picker for Smooth {
    fn pick(&self, usable: &dyn Fn(usize) -> bool) -> Option<usize> {
        // A pool belongs to one worker, so the lock is never waited for.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let [_] = turns[..] {
            return usable(0).then_some(0);
        }
        let mut sum = 0;
        let mut richest: Option<usize> = None;
        for at in 0..turns.len() {
            if !usable(at) {
                continue;
            }
            sum += turns[at].weight;
            turns[at].credit += turns[at].weight;
            if richest.is_none_or(|best| turns[at].credit > turns[best].credit) {
                richest = Some(at);
            }
        }
        let picked = richest?;
        turns[picked].credit -= sum;
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_are_exact_and_spread() {
        let picker = super::build(&[5, 1, 1]);
        let picks: Vec<_> = (0..7).map(|_| picker.pick(&|_| true).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }
}
