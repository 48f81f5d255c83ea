//! `transom explain`: the effective policy slots of a method, and where each came from.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::fail;
use crate::cli::load;
use crate::config::Config;
use crate::config::types::Api;
use crate::config::types::Slots;
use crate::policy;
use crate::policy::merge::Levels;
use crate::policy::merge::effective;

pub(super) fn run(path: &Path, method: &str) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(report) => return fail(&report),
    };
    let Some((service, name)) = method.trim_start_matches('/').split_once('/') else {
        return fail(&format_args!("\"{method}\" names no method: write pkg.Service/Method"));
    };
    match crate::server::publishers(&config, service, name) {
        Err(report) => fail(&report),
        Ok(apis) if apis.is_empty() => fail(&format_args!("no API of {} publishes {method}", path.display())),
        Ok(apis) => {
            for api in apis {
                print!("{}", explain(&config, api, service, name));
            }
            ExitCode::SUCCESS
        }
    }
}

fn explain(config: &Config, api: &Api, service: &str, name: &str) -> String {
    let none = Slots::default();
    let rule = api.methods.iter().find(|rule| rule.service == service && rule.method == name);
    let levels = Levels {
        general: &config.policies,
        api: &api.policies,
        method: rule.map_or(&none, |rule| &rule.policies),
        enforced: &config.enforced,
    };
    let mut text = format!("{service}/{name} in API \"{}\"\n", api.name);
    for slot in effective(policy::TABLE, levels) {
        let place = match slot.at {
            Some(at) => at.file_and_line(),
            None => "built in".into(),
        };
        let kind = policy::TABLE.iter().find(|kind| kind.slot() == slot.slot);
        let unset = || kind.map_or("its defaults", |kind| kind.unset_in_words()).to_owned();
        let value = slot.value.map_or_else(unset, ToString::to_string);
        text.push_str(&format!("  {:<10} {:<9} {:<24} {value}\n", slot.slot, slot.origin.to_string(), place));
    }
    text
}
