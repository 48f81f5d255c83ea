//! How long it takes to find a REST route, in a small table and in one of 15,000 rules. Run it with
//! `cargo bench --bench route`.

use std::hint::black_box;
use std::time::Instant;

use http::Method;
use transom::config::host::HostPattern;
use transom::route::Owner;
use transom::route::Rank;
use transom::route::rest::Found;
use transom::route::rest::Mount;
use transom::route::rest::RestTable;
use transom::schema::http::BodyRule;
use transom::schema::http::Grammar;
use transom::schema::http::Rule;
use transom::schema::http::Template;
use transom::schema::http::Verb;

/// The path that asks a service, by its number.
type PathOf = fn(usize) -> String;

fn main() {
    let small = table(2);
    let large = table(1_500);
    println!("{:<34} {:>12} {:>12} {:>7}", "ns per find", "20 rules", "15000 rules", "ratio");
    let paths: [(&str, Method, PathOf); 6] = [
        ("static", Method::GET, |at| format!("/v1/service{at}/status")),
        ("one variable", Method::GET, |at| format!("/v1/service{at}/users/u-{at}")),
        ("resource name", Method::GET, |at| format!("/v1/service{at}/projects/p1/topics/t{at}")),
        ("verb", Method::POST, |at| format!("/v1/service{at}/projects/p1/topics/t{at}:publish")),
        ("escapes", Method::GET, |at| format!("/v1/service{at}/users/a%20b%2Fc")),
        ("not found", Method::GET, |at| format!("/v1/service{at}/nothing/here/at/all")),
    ];
    for (name, method, path) in paths {
        let expect_match = name != "not found";
        let few = measure(&small, &method, &(0..2).map(path).collect::<Vec<_>>(), expect_match);
        let many = measure(&large, &method, &(0..1_500).map(path).collect::<Vec<_>>(), expect_match);
        println!("{name:<34} {few:>12.1} {many:>12.1} {:>7.2}", many / few);
    }
}

/// Ten rules a service, as APIs have them.
fn table(services: usize) -> RestTable<usize> {
    let mut table = RestTable::default();
    let mut rules = 0;
    for at in 0..services {
        let base = format!("/v1/service{at}");
        for (verb, template) in [
            (Verb::Get, format!("{base}/status")),
            (Verb::Get, format!("{base}/users")),
            (Verb::Post, format!("{base}/users")),
            (Verb::Get, format!("{base}/users/{{id}}")),
            (Verb::Patch, format!("{base}/users/{{user.id}}")),
            (Verb::Delete, format!("{base}/users/{{id}}")),
            (Verb::Get, format!("{base}/{{name=projects/*/topics/*}}")),
            (Verb::Post, format!("{base}/{{name=projects/*/topics/*}}:publish")),
            (Verb::Get, format!("{base}/{{parent=projects/*}}/topics")),
            (Verb::Get, format!("{base}/files/{{path=**}}")),
        ] {
            let template = Template::parse(&template, Grammar::default()).expect("a template");
            let rule = Rule { verb, template, body: BodyRule::None, response_body: None, at: "bench".into() };
            let rank = Rank { owner: Owner::Team, host: HostPattern::Any };
            table.publish(rank, &Mount::default(), &rule, rules).expect("shapes differ");
            rules += 1;
        }
    }
    table
}

/// Nanoseconds a find: the median of 5 rounds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(table: &RestTable<usize>, method: &Method, paths: &[String], expect_match: bool) -> f64 {
    let mut rounds: Vec<f64> = (0..5)
        .map(|_| {
            let mut matches = 0;
            let start = Instant::now();
            for path in paths.iter().cycle().take(FINDS) {
                let found = table.find(black_box("api.example.com"), method, black_box(path));
                matches += usize::from(matches!(black_box(found), Found::Match { .. }));
            }
            let spent = start.elapsed();
            assert_eq!(matches, if expect_match { FINDS } else { 0 });
            spent.as_secs_f64() * 1e9 / FINDS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[2]
}

const FINDS: usize = 300_000;
