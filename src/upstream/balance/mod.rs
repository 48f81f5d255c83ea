//! Pickers of endpoints: built for a fixed set, asked for each attempt.

mod round_robin;

use crate::config::types::Balance;

/// Picks an endpoint. Built for a fixed set: a changed set means a new picker.
pub trait Picker: Send + Sync {
    /// The index of an endpoint among those for which `usable` is true; `None` if it is for
    /// none.
    fn pick(&self, usable: &dyn Fn(usize) -> bool) -> Option<usize>;
}

/// A kind of balancer.
pub trait Kind: Sync {
    /// Which one.
    fn balance(&self) -> Balance;

    /// A picker for endpoints of these weights, none of which is zero.
    fn build(&self, weights: &[u32]) -> Box<dyn Picker>;
}

/// Every balancer. A new one is a new file and one line here.
pub static TABLE: &[&dyn Kind] = &[&round_robin::RoundRobin];

/// A picker of the kind that a configuration asks for.
pub fn build(balance: Balance, weights: &[u32]) -> Box<dyn Picker> {
    let kind = TABLE.iter().find(|kind| kind.balance() == balance);
    kind.map_or_else(|| round_robin::build(weights), |kind| kind.build(weights))
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    /// The laws of every picker.
    #[test]
    fn pickers_obey_the_laws() {
        for kind in TABLE {
            let picker = kind.build(&[1, 3, 1]);
            assert_eq!(picker.pick(&|_| false), None);
            for only in 0..3 {
                assert_eq!(picker.pick(&|at| at == only), Some(only));
            }
            let mut counts = [0; 3];
            for _ in 0..500 {
                counts[picker.pick(&|_| true).unwrap()] += 1;
            }
            assert!(counts.iter().all(|count| *count > 0), "{:?}: {counts:?}", kind.balance());
            assert_eq!(kind.build(&[]).pick(&|_| true), None);
        }
    }
}
