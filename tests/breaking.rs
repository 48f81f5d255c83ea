//! What breaks between two versions of a module: each pair of `tests/breaking` against its golden.
//!
//! A pair is `NAME/old` and `NAME/new`, with `old.yaml` and `new.yaml` where there is a service config. Files of
//! editions have a set beside them, `old.binpb`, which `buf build old -o old.binpb` writes. What stands in
//! `expected.txt` is compared with what buf finds by `tests/node/breaking.test.js`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use transom::registry::breaking;
use transom::registry::breaking::Allowed;
use transom::registry::breaking::Category;
use transom::registry::breaking::Finding;
use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::compile;
use transom::schema::http::ServiceConfig;
use transom::schema::source;

/// One version of a module.
struct Side {
    schema: Schema,
    rules: Option<ServiceConfig>,
}

fn pairs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/breaking");
    let mut pairs: Vec<PathBuf> =
        fs::read_dir(root).expect("the pairs are there").map(|entry| entry.expect("a pair").path()).collect();
    pairs.sort();
    pairs
}

fn side(pair: &Path, which: &str) -> Side {
    let set = pair.join(format!("{which}.binpb"));
    let limits = Limits::default();
    let schema =
        match set.exists() {
            true => source::descriptor_set(&set, &limits)
                .and_then(|set| compile::descriptor_set(&set, &[], &limits)),
            false => source::protos(&pair.join(which), &limits)
                .and_then(|files| compile::protos(files, &[], &limits)),
        };
    let schema = schema.unwrap_or_else(|faults| panic!("{}: {}", pair.display(), faults[0]));
    let config = pair.join(format!("{which}.yaml"));
    let rules = fs::read_to_string(&config)
        .ok()
        .map(|text| ServiceConfig::parse(&text, "rules.yaml").expect("a service config"));
    Side { schema, rules }
}

fn compare(old: &Side, new: &Side, category: Category) -> Vec<Finding> {
    breaking::compare(&old.schema, &new.schema, old.rules.as_ref(), new.rules.as_ref(), category)
}

fn schema(files: &[(&str, &str)]) -> Schema {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    compile::protos(files, &[], &Limits::default()).expect("they are well-formed")
}

#[test]
fn findings_are_those_of_the_goldens() {
    let mut wrong = Vec::new();
    for pair in pairs() {
        let (old, new) = (side(&pair, "old"), side(&pair, "new"));
        let mut found = String::new();
        for category in Category::ALL {
            for finding in compare(&old, &new, category) {
                let Finding { rule, file, line, element, .. } = finding;
                let line = line.map(|line| format!(":{line}")).unwrap_or_default();
                found.push_str(&format!("{category} {rule} {file}{line} {element}\n"));
            }
        }
        let golden = pair.join("expected.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        if fs::read_to_string(&golden).ok().as_deref() != Some(&*found) {
            wrong.push(format!("{}:\n{found}", pair.display()));
        }
    }
    assert!(wrong.is_empty(), "run with BLESS=1 and read the diff\n{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_pair() {
    let mut seen = BTreeSet::new();
    for pair in pairs() {
        let golden = fs::read_to_string(pair.join("expected.txt")).unwrap();
        seen.extend(golden.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()));
    }
    let all: BTreeSet<String> = breaking::rule_ids().map(str::to_owned).collect();
    assert_eq!(all.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(35 <= pairs().len());
}

#[test]
fn a_stricter_category_refuses_whatever_a_lenient_one_does() {
    for pair in pairs() {
        let (old, new) = (side(&pair, "old"), side(&pair, "new"));
        let counts = Category::ALL.map(|category| compare(&old, &new, category).len());
        for (lenient, strict) in (0..3).map(|at| (counts[at], counts[at + 1])) {
            assert!(lenient == 0 || 0 < strict, "{}: {counts:?}", pair.display());
        }
    }
}

#[test]
fn a_version_breaks_nothing_of_itself() {
    for pair in pairs() {
        let one = side(&pair, "old");
        assert_eq!(compare(&one, &one, Category::File), [], "{}", pair.display());
    }
}

#[test]
fn a_finding_says_what_breaks_and_is_allowed_by_its_name() {
    let of = |field| format!("syntax = \"proto3\";\npackage a.v1;\nmessage Pet {{\n  {field} = 1;\n}}\n");
    let (old, new) = (of("string name"), of("string title"));
    let (old, new) = (schema(&[("a.proto", &old)]), schema(&[("a.proto", &new)]));
    assert_eq!(breaking::compare(&old, &new, None, None, Category::Wire), []);
    let findings = breaking::compare(&old, &new, None, None, Category::default());
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "a.proto:4: a.v1.Pet.name: field 1 has another JSON name: changed from \"name\" to \"title\", which \
             breaks JSON and REST clients, which know it by its old name (FIELD_SAME_JSON_NAME)",
            "a.proto:4: a.v1.Pet.name: field 1 is named otherwise: changed from \"name\" to \"title\", which \
             breaks JSON and REST clients, which know it by its old name (FIELD_SAME_NAME)",
        ]
    );
    let allowed = [Allowed::parse("FIELD_SAME_NAME@a.v1.Pet.name").unwrap()];
    let verdict = breaking::split(findings, &allowed);
    assert_eq!((verdict.refused.len(), verdict.allowed.len(), verdict.unused.len()), (1, 1, 0));
    assert_eq!(verdict.refused[0].rule, "FIELD_SAME_JSON_NAME");
}

#[test]
fn only_the_files_of_the_module_count() {
    let common = |field: &str| {
        schema(&[(
            "c.proto",
            &format!(
                "syntax = \"proto3\"; package c; message C {{ {field} = 1; }} service S {{ rpc M(C) returns (C); }}"
            ),
        )])
    };
    let module = |common: &Schema| {
        let text = "syntax = \"proto3\"; package a; import \"c.proto\"; message A { c.C c = 1; }";
        let files = vec![("a.proto".to_owned(), text.as_bytes().to_vec())];
        compile::protos(files, std::slice::from_ref(common), &Limits::default()).unwrap()
    };
    let (old, new) = (common("string a"), common("int32 b"));
    assert_eq!(
        breaking::compare(&module(&old), &module(&new), None, None, Category::File),
        [],
        "what another module has is that module's business"
    );
    // The module gives its service away to another one: it serves it no longer.
    let both = schema(&[
        ("a.proto", "syntax = \"proto3\"; package a; import \"c.proto\"; message A { c.C c = 1; }"),
        (
            "c.proto",
            "syntax = \"proto3\"; package c; message C { string a = 1; } service S { rpc M(C) returns (C); }",
        ),
    ]);
    let findings = breaking::compare(&both, &module(&old), None, None, Category::Wire);
    let found: Vec<_> = findings.iter().map(|finding| (finding.rule, &*finding.element)).collect();
    assert_eq!(found, [("TRANSOM_SERVICE_NO_DELETE", "c.S")]);
}

/// A module as large as those of whole clouds. Every file of another version has another field and another binding.
fn cloud(files: usize, version: usize) -> Schema {
    let fields: String = (1..=12).map(|at| format!("  string field_{at} = {at};\n")).collect();
    let added: String = (0..version).map(|at| format!("  string added_{at} = {};\n", 100 + at)).collect();
    let also: String =
        (0..version).map(|at| format!("      additional_bindings {{ get: \"/v1/added{at}\" }}\n")).collect();
    let text = |n: usize| {
        let method = |at: usize| {
            format!(
                "  rpc Get{at}(Pet) returns (Tag) {{\n    option (google.api.http) = {{\n      \
                 get: \"/v1/{{field_1=pets{n}/*}}/get{at}\"\n      \
                 additional_bindings {{ post: \"/v1/p{n}/get{at}\" body: \"*\" }}\n{also}    }};\n  }}\n"
            )
        };
        let methods: String = (0..2 + n % 2).map(method).collect();
        format!(
            "syntax = \"proto3\";\npackage a{n}.v1;\nimport \"google/api/annotations.proto\";\n\
             message Pet {{\n{fields}{added}  Kind kind = 50;\n  map<string, Tag> tags = 51;\n  repeated Tag all = 52;\n}}\n\
             message Tag {{\n{fields}}}\nmessage Empty {{}}\nenum Kind {{\n  A = 0;\n  B = 1;\n}}\n\
             service Pets {{\n{methods}}}\n"
        )
    };
    let files: Vec<(String, String)> = (0..files).map(|n| (format!("a{n}/v1/a.proto"), text(n))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    schema(&files)
}

/// The least time of some runs, for a machine that is busy with other things.
#[expect(clippy::disallowed_methods, reason = "the time that it takes is what is tested")]
fn least_time(mut run: impl FnMut()) -> Duration {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().expect("there was a run")
}

#[test]
fn a_thousand_files_are_compared_at_once() {
    let (old, new) = (cloud(1_000, 0), cloud(1_000, 1));
    assert_eq!(old.services().iter().map(|service| service.methods.len()).sum::<usize>(), 2_500);
    for category in Category::ALL {
        let took = least_time(|| assert_eq!(breaking::compare(&old, &new, None, None, category), []));
        println!("{category}: {took:?}");
        assert!(took < Duration::from_secs(1), "{category}: {took:?}");
    }
}

#[test]
fn no_shape_is_compared_by_walking_it_again_and_again() {
    let of = |version: usize| {
        let kind = ["int32", "string"][version];
        let each = |line: &dyn Fn(usize) -> String| (0..5_000).map(line).collect::<String>();
        let maps = each(&|at| format!("map<string, {kind}> m{at} = {};", at + 1));
        let extensions = each(&|at| format!("optional {kind} x{at} = {};", at + 1));
        let ranges = each(&|at| format!("reserved {};", at * 3 + 1 + version));
        let values = each(&|at| format!("V{version}_{at} = {at};"));
        let text = format!(
            "syntax = \"proto2\"; message Maps {{ {maps} }} message Open {{ extensions 1 to max; }} \
             extend Open {{ {extensions} }} message Closed {{ {ranges} }} enum Values {{ {values} }}"
        );
        schema(&[("a.proto", &text)])
    };
    let (old, new) = (of(0), of(1));
    for category in [Category::WireJson, Category::File] {
        let mut findings = 0;
        let took = least_time(|| findings = breaking::compare(&old, &new, None, None, category).len());
        println!("{category}: {findings} findings in {took:?}");
        assert!(20_000 <= findings && took < Duration::from_secs(2), "{findings} in {took:?}");
    }
}

#[test]
fn declarations_have_lines() {
    let text = "syntax = \"proto3\";\n\npackage a;\nmessage A {\n  string b =\n    1;\n}\nmessage B {}\n";
    let schema = schema(&[("a.proto", text)]);
    let line = |path: &[i32]| schema.line("a.proto", path);
    assert_eq!(line(&[12]), Some(1));
    assert_eq!(line(&[2]), Some(3));
    assert_eq!((line(&[4, 0]), line(&[4, 1])), (Some(4), Some(8)));
    assert_eq!(
        (line(&[4, 0, 2, 0]), line(&[4, 0, 2, 0, 3]), line(&[4, 0, 2, 0, 8])),
        (Some(5), Some(6), Some(5))
    );
    let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default()).unwrap();
    assert_eq!(
        (again.digest(), again.line("a.proto", &[4, 0])),
        (schema.digest(), None),
        "no digest has lines"
    );
    assert_eq!((line(&[4, 2]), line(&[8, 11]), schema.line("b.proto", &[4, 0])), (None, None, None));
}
