//! Puts units into the tables, where they meet others, and takes them out again.

use std::sync::Arc;

use crate::config::fault::At;
use crate::config::types;
use crate::config::types::Located;
use crate::route::Owner;
use crate::route::Rank;
use crate::route::rest::Mount;
use crate::schema::http;
use crate::snapshot::Document;
use crate::snapshot::MethodPlan;
use crate::snapshot::RestRoute;
use crate::snapshot::RestTarget;
use crate::snapshot::Tables;
use crate::snapshot::compile::Build;
use crate::snapshot::conflict::Conflicts;
use crate::snapshot::rest::plain_path;
use crate::snapshot::unit::Unit;

impl Build<'_> {
    /// Publishes a unit on every host of its API: among what is served, or under its label.
    pub(super) fn publish(&mut self, api: &types::Api, unit: &Unit) {
        let mut tables = self.take_tables(api, unit);
        for plan in &unit.methods {
            self.publish_method(&mut tables, api, plan);
        }
        let mut unserved = Vec::new();
        for route in &unit.rules {
            if !self.publish_rule(&mut tables, api, &unit.mount, route) {
                unserved.push(&route.rule);
            }
        }
        let document = match unserved.as_slice() {
            [] => unit.document.clone(),
            unserved => self.document_without(api, unit, unserved),
        };
        if let Some(document) = document {
            self.publish_document(&mut tables, Owner::Team, document);
        }
        self.put_tables(api, unit, tables);
    }

    /// Takes away what [`Build::publish`] published, as long as it met nothing else.
    pub(super) fn unpublish(&mut self, api: &types::Api, unit: &Unit) {
        let mut tables = self.take_tables(api, unit);
        for host in &unit.api.hosts {
            let rank = Rank { owner: Owner::Team, host: host.clone() };
            for plan in &unit.methods {
                tables.routes.unpublish(&plan.method.path, &rank);
            }
            for route in &unit.rules {
                tables.rest.unpublish(&rank, &unit.mount, &route.rule);
            }
            if let Some(rule) = unit.document.as_ref().and_then(|document| document_rule(document)) {
                tables.rest.unpublish(&rank, &Mount::default(), &rule);
            }
        }
        self.put_tables(api, unit, tables);
    }

    /// Publishes one of the gateway's own services, behind all that APIs have on its paths.
    pub(super) fn publish_own(&mut self, unit: &Unit) {
        for (host, plan) in
            unit.api.hosts.iter().flat_map(|host| unit.methods.iter().map(move |plan| (host, plan)))
        {
            let rank = Rank { owner: Owner::Gateway, host: host.clone() };
            // The gateway's services are its own choice: no two are alike.
            let _ = self.served.routes.publish(&plan.method.path, rank, plan.clone());
        }
    }

    /// Publishes the pages of the embedding program, behind all that an API has on their paths.
    pub(super) fn publish_own_documents(&mut self) {
        let mut tables = std::mem::take(&mut self.served);
        for document in self.inputs.documents {
            self.publish_document(&mut tables, Owner::Gateway, Arc::new(document.clone()));
        }
        self.served = tables;
    }

    fn take_tables(&mut self, api: &types::Api, unit: &Unit) -> Tables {
        match *unit.api.label == *api.label {
            true => std::mem::take(&mut self.served),
            false => self.labelled.remove(&unit.api.label).map(Arc::unwrap_or_clone).unwrap_or_default(),
        }
    }

    fn put_tables(&mut self, api: &types::Api, unit: &Unit, tables: Tables) {
        if *unit.api.label == *api.label {
            self.served = tables;
        } else {
            self.labelled.insert(unit.api.label.clone(), Arc::new(tables));
        }
    }

    fn publish_method(&mut self, tables: &mut Tables, api: &types::Api, plan: &Arc<MethodPlan>) {
        for Located { value: host, at } in &api.hosts {
            let rank = Rank { owner: Owner::Team, host: host.clone() };
            if let Err(there) = tables.routes.publish(&plan.method.path, rank, plan.clone()) {
                self.collision(api, there, plan, &host.to_string(), at);
                self.contest(there, plan);
            }
        }
    }

    fn collision(&mut self, api: &types::Api, there: &MethodPlan, plan: &MethodPlan, host: &str, at: &At) {
        // One fault a service is enough: most of its methods collide.
        let key =
            (there.api.name.clone(), plan.api.name.clone(), plan.method.service.clone(), host.to_owned());
        if !self.collided.insert(key) {
            return;
        }
        let at = if at.line == 0 && at.resource().is_none() { &api.at } else { at };
        let problem = format!(
            "service \"{}\" is published on host \"{host}\" by API \"{}\" of module \"{}\" and by API \"{}\" of module \"{}\"",
            plan.method.service, there.api.name, there.api.module, api.name, api.module,
        );
        self.diag.collision(at, problem, "give one of them other `hosts`, or list other `services`");
    }

    /// Whether any host serves it.
    fn publish_rule(
        &mut self,
        tables: &mut Tables,
        api: &types::Api,
        mount: &Mount,
        route: &RestRoute,
    ) -> bool {
        let mut conflicts = Conflicts::default();
        for host in &api.hosts {
            let rank = Rank { owner: Owner::Team, host: host.value.clone() };
            let target = RestTarget::Rule(route.clone());
            if let Err(there) = tables.rest.publish(rank, mount, &route.rule, target) {
                conflicts.add(there, &host.value);
                self.contested.extend([owner(there), route.plan.api.name.clone()]);
            }
        }
        let served = conflicts.hosts() < api.hosts.len();
        if self.tells {
            self.report(api, route, conflicts);
        }
        served
    }

    fn publish_document(&mut self, tables: &mut Tables, owned: Owner, document: Arc<Document>) {
        let Some(rule) = document_rule(&document) else { return };
        let mut conflicts = Conflicts::default();
        for host in &document.hosts {
            let rank = Rank { owner: owned, host: host.clone() };
            let target = RestTarget::Document(document.clone());
            if let Err(there) = tables.rest.publish(rank, &Mount::default(), &rule, target) {
                conflicts.add(there, host);
                self.contested.extend([owner(there), document.api.clone()]);
            }
        }
        if self.tells {
            self.report_document(&document, conflicts);
        }
    }

    fn contest(&mut self, there: &MethodPlan, plan: &MethodPlan) {
        self.contested.extend([there.api.name.clone(), plan.api.name.clone()]);
    }
}

/// The API of what stands on a path.
fn owner(target: &RestTarget) -> Arc<str> {
    match target {
        RestTarget::Rule(route) => route.plan.api.name.clone(),
        RestTarget::Document(document) => document.api.clone(),
    }
}

/// The path of a document as a rule; `None` where it is none, which was told when the document was made.
fn document_rule(document: &Document) -> Option<http::Rule> {
    let template = plain_path(&document.path).ok()?;
    let (body, at) = (http::BodyRule::None, "".into());
    Some(http::Rule { verb: http::Verb::Get, template, body, response_body: None, at })
}
