//! Checks the layer map and the size and style limits of `src/`.

use std::fs;
use std::path::{Path, PathBuf};

/// One row a room, top layer last. A row may name only rooms in rows above it, so no cycle can
/// be written down; `src/<room>` may name only the rooms in its row.
const MAY_USE: &[(&str, &[&str])] = &[
    ("call", &[]),
    ("config", &["call"]),
    ("net", &[]),
    // PEM of certificates, keys and authorities: towards clients and upstreams alike.
    ("tls", &["config"]),
    ("wire", &[]),
    ("schema", &["call"]),
    ("transcode", &["call", "schema"]),
    ("openapi", &["call", "schema"]),
    ("observe", &["call"]),
    ("outbound", &["config", "tls", "observe"]),
    ("route", &["config", "schema"]),
    ("policy", &["call", "config"]),
    ("bridge", &["call", "wire", "schema", "transcode"]),
    ("upstream", &["call", "config", "net", "tls", "wire", "observe", "policy"]),
    (
        "snapshot",
        &[
            "call",
            "config",
            "schema",
            "transcode",
            "openapi",
            "observe",
            "route",
            "policy",
            "bridge",
            "upstream",
        ],
    ),
    (
        "gateway",
        &[
            "call", "config", "wire", "observe", "outbound", "route", "policy", "bridge", "upstream",
            "snapshot",
        ],
    ),
    ("listen", &["call", "config", "net", "tls", "wire", "observe", "outbound"]),
    ("store", &[]),
    ("registry", &["schema", "store"]),
    ("builtin", &["schema"]),
    (
        "admin",
        &[
            "call", "config", "schema", "observe", "policy", "bridge", "upstream", "snapshot", "gateway",
            "store", "registry",
        ],
    ),
    ("demo", &[]),
];
/// Only these may see every room: they wire the program together.
const ROOTS: &[&str] = &["lib", "main", "server", "cli"];
const FILE_LINES_MAX: usize = 500;
const FN_LINES_MAX: usize = 70;
const BANNED: &[(&str, &str)] = &[
    ("use crate::{", "one `use crate::room::...` a line, so that the layer check can read it"),
    ("super::super", "name the room: `crate::room::...`"),
    ("unbounded_channel", "every queue has a limit"),
    (".unwrap()", "return a Refusal, or `expect` a stated invariant"),
    ("dbg!(", "leftover"),
    ("todo!(", "leftover"),
];

#[test]
fn source_is_tidy() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let faults = faults(&src);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn faults(src: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for (row, (room, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            if !MAY_USE[..row].iter().any(|(above, _)| above == used) {
                faults.push(format!("layer map: {room} names {used}, which is not above it"));
            }
        }
    }
    for path in rust_files(src) {
        let text = fs::read_to_string(&path).expect("source is UTF-8");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default(); // tests sit at the bottom
        let room = path.strip_prefix(src).expect("under src").iter().next().expect("a name");
        let room = room.to_str().expect("ASCII name").trim_end_matches(".rs");
        let mut fault = |line: usize, what: String| faults.push(format!("{}:{line}: {what}", path.display()));
        if !text.starts_with("//! ") {
            fault(1, "the first line says what the file is for: `//! ...`".into());
        }
        if FILE_LINES_MAX < text.lines().count() {
            fault(1, format!("over {FILE_LINES_MAX} lines"));
        }
        let known = MAY_USE.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
        if known.is_none() && !ROOTS.contains(&room) {
            fault(1, format!("room `{room}` is not in the layer map"));
        }
        let mut open: Option<(usize, usize)> = None; // (line, indent) of the function being read
        for (at, line) in (1..).zip(text.lines()) {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            if code.starts_with("//") {
                continue;
            }
            for (banned, instead) in BANNED {
                if code.contains(banned) {
                    fault(at, format!("`{banned}`: {instead}"));
                }
            }
            if let Some(allowed) = known {
                for named in code.split("crate::").skip(1) {
                    let named =
                        named.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                    if named != room && !allowed.contains(&named) {
                        fault(at, format!("{room} may not use {named}"));
                    }
                }
            }
            let is_fn = code.split_whitespace().take(4).any(|word| word == "fn");
            match open {
                None if is_fn && !code.ends_with(';') && !code.ends_with('}') => open = Some((at, indent)),
                Some((from, depth)) if code.starts_with('}') && indent == depth => {
                    if FN_LINES_MAX < at - from + 1 {
                        fault(from, format!("function over {FN_LINES_MAX} lines"));
                    }
                    open = None;
                }
                _ => (),
            }
        }
    }
    faults
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("src is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
