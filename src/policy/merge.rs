//! Merges the slots of all levels into the policies of one method.

use std::fmt;
use std::sync::Arc;

use crate::config::fault::At;
use crate::config::fault::Diag;
use crate::config::raw::Raw;
use crate::config::types::SlotValue;
use crate::config::types::Slots;
use crate::policy::Enforced;
use crate::policy::Kind;
use crate::policy::Policy;

/// The slots that may apply to one method.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// `policies` at the top.
    pub general: &'a Slots,
    /// `policies` of the API.
    pub api: &'a Slots,
    /// `policies` of the method.
    pub method: &'a Slots,
    /// `enforced`.
    pub enforced: &'a Slots,
}

/// One effective slot, and where it came from.
#[derive(Debug, Clone)]
pub struct Effective<'a> {
    /// The key of the slot.
    pub slot: &'static str,
    /// The level that won.
    pub origin: Origin,
    /// Where it was written; `None` for what nobody wrote.
    pub at: Option<&'a At>,
    /// Its value; `None` is the built-in default.
    pub value: Option<&'a Raw>,
}

/// A level of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Unset,
    /// `policies` at the top.
    General,
    /// `policies` of the API.
    Api,
    /// `policies` of the method.
    Method,
    /// `enforced`.
    Enforced,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unset => "default",
            Self::General => "policies",
            Self::Api => "api",
            Self::Method => "method",
            Self::Enforced => "enforced",
        })
    }
}

/// The slots that apply, in the order of `kinds`. The nearest level that sets a slot wins
/// whole, `off` empties it, and `enforced` can't be replaced.
pub fn effective<'a>(kinds: &[&dyn Kind], levels: Levels<'a>) -> Vec<Effective<'a>> {
    let mut all = Vec::new();
    for kind in kinds {
        let slot = kind.slot();
        let enforced = levels.enforced.get(slot).and_then(|set| match &set.value {
            SlotValue::Off => None,
            SlotValue::Set(raw) => {
                Some(Effective { slot, origin: Origin::Enforced, at: Some(&set.at), value: Some(raw) })
            }
        });
        if enforced.is_none() || kind.enforced() == Enforced::Both {
            all.extend(nearest(slot, levels));
        }
        all.extend(enforced);
    }
    all
}

fn nearest<'a>(slot: &'static str, levels: Levels<'a>) -> Option<Effective<'a>> {
    let ways =
        [(Origin::Method, levels.method), (Origin::Api, levels.api), (Origin::General, levels.general)];
    for (origin, slots) in ways {
        if let Some(set) = slots.get(slot) {
            return match &set.value {
                SlotValue::Off => None,
                SlotValue::Set(raw) => Some(Effective { slot, origin, at: Some(&set.at), value: Some(raw) }),
            };
        }
    }
    Some(Effective { slot, origin: Origin::Unset, at: None, value: None })
}

/// Compiles the effective slots.
pub fn compile(kinds: &[&dyn Kind], effective: &[Effective<'_>], diag: &mut Diag) -> Vec<Arc<dyn Policy>> {
    effective
        .iter()
        .filter_map(|slot| {
            let kind = kinds.iter().find(|kind| kind.slot() == slot.slot)?;
            match slot.value {
                Some(raw) => kind.compile(raw, diag),
                None => kind.unset(),
            }
        })
        .collect()
}
