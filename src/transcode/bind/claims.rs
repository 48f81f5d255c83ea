//! Remembers which fields are set, at any depth, to refuse a second value and a second member of a oneof.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::transcode::bind::names::Step;
use crate::transcode::plan::Shape;

/// Why a field can't be set besides those that are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rival {
    /// It is set, and holds one value.
    Itself,
    /// The field of this index, of the same message and the same oneof, is set.
    Member(String),
}

/// The fields that are set, as a tree: each place is a message, and the request is place 0.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Place and slot, and what is there. Requests rarely set more than a few fields.
    few: Vec<((usize, usize), usize)>,
    many: HashMap<(usize, usize), usize>,
    places: usize,
}

impl Claims {
    /// Sets the field at the end of `steps`.
    pub(super) fn claim(&mut self, steps: &[Step<'_>]) -> Result<(), Rival> {
        let Some((leaf, parents)) = steps.split_last() else { return Ok(()) };
        let mut place = 0;
        for step in parents {
            place = self.enter(place, step)?;
        }
        self.check_oneof(place, leaf)?;
        match leaf.field.shape {
            Shape::Single if self.entry((place, leaf.index), SET).is_some() => Err(Rival::Itself),
            _ => Ok(()),
        }
    }

    /// Sets a part of the message in a field; its place.
    fn enter(&mut self, place: usize, step: &Step<'_>) -> Result<usize, Rival> {
        self.check_oneof(place, step)?;
        let next = self.places + 1;
        match self.entry((place, step.index), next) {
            Some(SET) => Err(Rival::Itself),
            Some(known) => Ok(known),
            None => {
                self.places = next;
                Ok(next)
            }
        }
    }

    /// Chooses the member of a oneof, if the field is one.
    fn check_oneof(&mut self, place: usize, step: &Step<'_>) -> Result<(), Rival> {
        let Some(oneof) = step.field.oneof else { return Ok(()) };
        let slot = step.message.fields.len() + oneof;
        match self.entry((place, slot), step.index) {
            Some(other) if other != step.index => {
                let name = step.message.fields.get(other).map(|field| field.json_name.to_string());
                Err(Rival::Member(name.unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    /// What is at `key`, or `None` and `value` from now on.
    fn entry(&mut self, key: (usize, usize), value: usize) -> Option<usize> {
        if self.many.is_empty() {
            if let Some((_, known)) = self.few.iter().find(|(known, _)| *known == key) {
                return Some(*known);
            }
            self.few.push((key, value));
            if self.few.len() > FEW_MAX {
                self.many.extend(self.few.drain(..));
            }
            return None;
        }
        match self.many.entry(key) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                None
            }
        }
    }
}

/// Of a field that is set as a whole; no place within the request.
const SET: usize = 0;
/// So many are looked through one by one.
const FEW_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_few_and_many() {
        let mut claims = Claims::default();
        for round in 0..2 {
            for key in 0..1000 {
                let known = claims.entry((key / 10, key % 10), key + 1);
                assert_eq!(known, (round == 1).then_some(key + 1));
            }
        }
        assert!(claims.few.is_empty());
    }
}
