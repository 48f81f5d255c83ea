//! Finds what a call asks for under another label than the one that its API serves.
//!
//! A header only picks among versions that are published: whatever it says, the call stays with the hosts and the
//! policies of an API that lets it ask.

use http::HeaderValue;
use http::request::Parts;

use crate::call::Reason;
use crate::call::Refusal;
use crate::gateway::shown;
use crate::gateway::target;
use crate::gateway::target::Outcome;
use crate::gateway::target::Target;
use crate::snapshot::Api;
use crate::snapshot::Snapshot;

/// What `head` asks for; `served` is what it would get without asking for a label.
pub(super) fn find(snapshot: &Snapshot, head: &Parts, served: Target) -> Target {
    let asked = match &served.plan {
        Some(plan) => asked(&plan.api, head),
        // It may be published under that label alone.
        None if matches!(served.outcome, Outcome::Answer(_)) => None,
        None => snapshot.label_headers.iter().find_map(|name| head.headers.get(name)),
    };
    let Some(asked) = asked else { return served };
    if served.plan.as_ref().is_some_and(|plan| asked.as_bytes() == plan.api.label.as_bytes()) {
        return served;
    }
    // Other APIs may have other headers: this label is for those alone that are asked by theirs.
    let is_asked = |target: &Target| {
        let plan = target.plan.as_ref();
        plan.is_some_and(|plan| self::asked(&plan.api, head).is_some_and(|label| label == asked))
    };
    let tables = asked.to_str().ok().and_then(|label| snapshot.labelled.get(label));
    match tables.map(|tables| target::among(tables, head)).filter(is_asked) {
        Some(found) => found,
        None => match &served.plan {
            Some(plan) => {
                let refusal = unknown(snapshot, &plan.api, &plan.method.path, asked);
                Target { outcome: Outcome::Refuse(refusal), ..served }
            }
            None => served,
        },
    }
}

/// The label that a call of an API asks for.
fn asked<'h>(api: &Api, head: &'h Parts) -> Option<&'h HeaderValue> {
    head.headers.get(api.label_header.as_ref()?)
}

fn unknown(snapshot: &Snapshot, api: &Api, path: &str, asked: &HeaderValue) -> Refusal {
    let label = String::from_utf8_lossy(asked.as_bytes());
    let label = shown(&label);
    let labels = snapshot.modules.get(&*api.module);
    if labels.is_some_and(|labels| labels.get(label).is_some()) {
        return Refusal::new(Reason::MethodUnknown, format!("label \"{label}\" has no method {path}"));
    }
    let known = labels.into_iter().flat_map(|labels| labels.iter()).map(|(label, _)| format!("\"{label}\""));
    let known: Vec<String> = known.take(LABELS_SHOWN).collect();
    let told = format!("module \"{}\" has no label \"{label}\": ask for {}", api.module, known.join(" or "));
    Refusal::new(Reason::MethodUnknown, told)
}

/// Labels that a refusal names.
const LABELS_SHOWN: usize = 8;
