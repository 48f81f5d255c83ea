//! `transom store` on files that stores wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use transom::store::Batch;
use transom::store::Embedded;
use transom::store::Store;
use transom::store::Table;

use crate::admin::Ended;
use crate::admin::ended;
use crate::admin::program;

fn filled(path: &Path) {
    let mut batch = Batch::default();
    for name in ["a", "b", "c"] {
        batch.put(Table::Resources, format!("upstreams/{name}"), "{}");
    }
    batch.put(Table::Audit, 1_u64.to_be_bytes(), "first");
    Embedded::open(path).unwrap().commit(&batch).unwrap();
}

fn store(arguments: &[&Path]) -> Ended {
    ended(program().arg("store").args(arguments))
}

#[test]
fn a_store_is_checked_exported_and_imported() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (from, archive, to) = (at("from.redb"), at("backup.transom"), at("to.redb"));
    filled(&from);
    let check = store(&["check".as_ref(), &from]);
    let counts = "3 resources, 0 versions, 0 blobs, 0 labels, 0 history, 1 audit";
    assert_eq!((check.code, check.stdout), (0, format!("{}: no faults; {counts}\n", from.display())));

    // An older backup is replaced.
    fs::write(&archive, "old").unwrap();
    let export = store(&["export".as_ref(), &from, &archive]);
    assert_eq!((export.code, export.stdout), (0, format!("{}: 4 entries\n", archive.display())));
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");

    let import = store(&["import".as_ref(), &to, &archive]);
    assert_eq!((import.code, import.stdout), (0, format!("{}: 4 entries\n", to.display())));
    let again = store(&["import".as_ref(), &to, &archive]);
    assert_eq!((again.code, again.stdout.as_str()), (1, ""));
    assert!(again.stderr.contains("import into a new one"), "{again:?}");

    let piped =
        program().args(["store".as_ref(), "export".as_ref(), from.as_path(), "-".as_ref()]).output().unwrap();
    assert_eq!(piped.stdout, fs::read(&archive).unwrap());
    let mut command = program();
    command.args(["store".as_ref(), "import".as_ref(), at("third.redb").as_path(), "-".as_ref()]);
    assert_eq!(ended(command.write_stdin(piped.stdout)).code, 0);
    let check = store(&["check".as_ref(), &at("third.redb")]);
    assert!(check.stdout.ends_with(&format!("{counts}\n")), "{check:?}");
}

#[test]
fn a_store_in_use_and_what_is_none_is_refused_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let path = at("store.redb");
    filled(&path);
    let open = Embedded::open_existing(&path).unwrap();
    for arguments in [&["check".as_ref(), path.as_path()][..], &["export".as_ref(), &path, &at("x")]] {
        let used = store(arguments);
        assert_eq!((used.code, used.stdout.as_str()), (1, ""));
        assert!(used.stderr.contains("is open in another process: stop that one"), "{used:?}");
    }
    assert!(!at("x").exists());
    drop(open);

    fs::write(at("text"), "not a store\n").unwrap();
    let text = store(&["check".as_ref(), &at("text")]);
    assert_eq!(text.code, 1);
    assert!(text.stderr.contains("is damaged"), "{text:?}");
    let missing = store(&["check".as_ref(), &at("missing")]);
    assert_eq!(missing.code, 1);
    assert!(!at("missing").exists(), "it isn't made");

    let archive = store(&["import".as_ref(), &at("new.redb"), &at("text")]);
    assert_eq!(archive.code, 1);
    assert!(archive.stderr.starts_with("the archive can't be imported: "), "{archive:?}");
    let nowhere = store(&["export".as_ref(), &path, Path::new("/nonexistent/backup")]);
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.stderr.starts_with("/nonexistent/backup can't be written: "), "{nowhere:?}");
    assert_eq!(store(&["export".as_ref(), &path]).code, 2);
}
