//! Good configurations load; bad ones give exactly the report beside them. `BLESS=1` rewrites reports.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use transom::config;

#[test]
fn good_files_load() {
    for file in files("tests/config/good").into_iter().chain(files("examples/configs")) {
        if let Err(report) = config::load(&file, &env) {
            panic!("{report}");
        }
    }
}

#[test]
fn bad_files_are_reported_exactly() {
    let mut wrong = Vec::new();
    for file in files("tests/config/bad") {
        let Err(report) = config::load(&file, &env) else {
            wrong.push(format!("{} loads", file.display()));
            continue;
        };
        let golden = file.with_extension("report");
        let report = format!("{report}\n");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &report).expect("the folder of fixtures is writable");
        } else if fs::read_to_string(&golden).unwrap_or_default() != report {
            wrong.push(format!("{} gives another report (BLESS=1 rewrites):\n{report}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_report_has_its_file() {
    for report in listed("tests/config/bad", "report") {
        assert!(report.with_extension("yaml").exists(), "{} has no file beside it", report.display());
    }
}

#[test]
fn the_whole_schema_is_reported_as_not_built_and_nothing_else() {
    let report = config::load(Path::new("tests/config/bad/whole-schema.yaml"), &env)
        .expect_err("it uses what is not built");
    for fault in report.faults() {
        assert!(fault.problem.contains("not built yet"), "{fault}");
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "MOBILE_SECRET" | "GW_SECRET" => Some("a secret".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let found = listed(folder, "yaml");
    assert!(!found.is_empty(), "no .yaml in {folder}");
    found
}

/// Paths as a user would give them: they are part of the reports.
fn listed(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder is readable").path());
    let mut found: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    found.sort();
    found
}
