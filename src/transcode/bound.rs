//! The fields that path variables own, which neither a body nor a query may set.

/// A tree of field numbers below one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bound {
    steps: Vec<(u32, Step)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The field as a whole.
    Owned,
    /// Something within the message that the field holds.
    Below(Bound),
}

impl Bound {
    /// Nothing is owned.
    pub const fn empty() -> Self {
        Self { steps: Vec::new() }
    }

    /// Whether nothing is owned.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is owned within the message of a field; `None` where nothing is, or the field as a whole.
    pub fn child(&self, field_number: u32) -> Option<&Self> {
        match self.step(field_number)? {
            Step::Below(below) => Some(below),
            Step::Owned => None,
        }
    }

    /// Whether a field is owned as a whole.
    pub fn owns(&self, field_number: u32) -> bool {
        matches!(self.step(field_number), Some(Step::Owned))
    }

    /// Owns the field at the end of `path`, field numbers from the top; false if a part of it, or it as
    /// a part of something, is owned already. An empty path owns nothing.
    #[must_use]
    pub fn own(&mut self, path: &[u32]) -> bool {
        let Some((number, rest)) = path.split_first() else { return false };
        let at = self.steps.iter().position(|(known, _)| known == number);
        match (at.map(|at| &mut self.steps[at].1), rest) {
            (None, []) => self.steps.push((*number, Step::Owned)),
            (None, _) => {
                let mut below = Self::empty();
                if !below.own(rest) {
                    return false;
                }
                self.steps.push((*number, Step::Below(below)));
            }
            (Some(Step::Below(below)), [_, ..]) => return below.own(rest),
            (Some(_), _) => return false,
        }
        true
    }

    fn step(&self, field_number: u32) -> Option<&Step> {
        self.steps.iter().find(|(number, _)| *number == field_number).map(|(_, step)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owns_leaves_of_a_tree() {
        let mut bound = Bound::empty();
        assert!(bound.is_empty());
        assert!(bound.own(&[1]));
        assert!(bound.own(&[2, 3]));
        assert!(bound.own(&[2, 4, 5]));
        assert!(!bound.is_empty());
        assert!(bound.owns(1));
        assert!(bound.child(1).is_none());
        assert!(!bound.owns(2));
        assert!(!bound.owns(3));
        let below = bound.child(2).unwrap();
        assert!(below.owns(3));
        assert!(!below.owns(4));
        assert!(below.child(4).unwrap().owns(5));
        assert!(bound.child(7).is_none());
    }

    #[test]
    fn owns_nothing_twice() {
        let mut bound = Bound::empty();
        assert!(bound.own(&[1, 2]));
        let before = bound.clone();
        for path in [&[][..], &[1], &[1, 2], &[1, 2, 3]] {
            assert!(!bound.own(path), "{path:?}");
            assert_eq!(bound, before);
        }
    }
}
