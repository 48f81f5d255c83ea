//! Versions that no longer serve.

use std::sync::Arc;

use crate::snapshot::Snapshot;
use crate::snapshot::Versions;
use crate::snapshot::unit::Unit;

/// A version of an API that a snapshot had and that no later one has.
pub struct Retired(Arc<Unit>);

impl Snapshot {
    /// Frees the snapshot, but for the versions that it alone has: running calls may still hold them.
    pub fn retire(self) -> Vec<Retired> {
        let units: Vec<Arc<Unit>> =
            self.units.iter().flat_map(Versions::all).chain(&self.own).cloned().collect();
        drop(self);
        units.into_iter().filter(|unit| Arc::strong_count(unit) == 1).map(Retired).collect()
    }
}

impl Retired {
    /// Whether no call holds anything of it, so that it is freed here and nowhere else.
    pub fn is_idle(&self) -> bool {
        let unit = &*self.0;
        let (methods, rules) = (unit.methods.len(), unit.rules.len());
        let plans: usize = unit.methods.iter().map(Arc::strong_count).sum();
        let messages = || unit.methods.iter().filter_map(|plan| plan.messages.as_ref());
        let mut watched = unit.methods.iter().filter_map(|plan| plan.shadow.as_ref());
        let jsons = || unit.methods.iter().filter_map(|plan| plan.json.as_ref());
        let endpoints = unit.rules.iter().map(|route| &route.endpoint).chain(jsons());
        // A plan is held by its rules too, and its messages by every endpoint.
        Arc::strong_count(&self.0) == 1
            && Arc::strong_count(&unit.api) == 1 + methods
            && plans == methods + rules
            // A call whose messages are copied may have let the plan go.
            && watched.all(|watched| Arc::strong_count(watched) == 1)
            && endpoints.map(Arc::strong_count).all(|count| count == 1)
            && messages().map(Arc::strong_count).sum::<usize>()
                == messages().count() + jsons().count() + rules
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::snapshot::Labels;
    use crate::snapshot::Modules;
    use crate::snapshot::change::tests::PLAIN;
    use crate::snapshot::change::tests::World;
    use crate::snapshot::change::tests::config;
    use crate::snapshot::change::tests::schema;

    #[test]
    fn a_version_waits_for_its_calls() {
        let world = World::new(&config(false));
        let modules = |text: &str| -> Modules { [("m0".to_owned(), Labels::live(schema(text)))].into() };
        let before = world.compile(&modules(PLAIN), None).unwrap();
        let newer = PLAIN.replace("rpc Get", "rpc Take");
        let after = world.compile(&modules(&newer), Some(&before)).unwrap();
        let plan = before.served.routes.find("a.com", "/m0.S/Get").cloned().unwrap();
        let (series, json) = (plan.series.clone(), plan.json.clone().unwrap());
        let retired = before.retire();
        assert_eq!(retired.len(), 1, "all else is in the next snapshot too");
        assert!(!retired[0].is_idle());
        drop(plan);
        assert!(!retired[0].is_idle(), "an answer is still written");
        drop(json);
        assert!(retired[0].is_idle());
        drop(retired);
        assert_eq!(Arc::strong_count(&series), 2, "its counts are kept by the metrics alone");
        assert_eq!(after.retire().len(), 1);
    }
}
