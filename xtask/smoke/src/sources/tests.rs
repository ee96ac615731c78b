//! What moves the suite's key, on a copy of this very workspace.

use super::*;

/// The crate that owns the suite, as its build script knows it.
const PACKAGE: &str = env!("CARGO_PKG_NAME");

fn workspace() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut roots = crates.filter(|folder| folder.join("Cargo.lock").is_file());
    roots.next().unwrap().to_owned()
}

/// The manifests and sources of the workspace, in a folder of its own.
fn copy() -> tempfile::TempDir {
    let (root, copy) = (workspace(), tempfile::tempdir().unwrap());
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut files = BTreeSet::from([root.join("Cargo.toml"), root.join("Cargo.lock")]);
    for folder in members(&root, &manifest).unwrap().values() {
        for part in PARTS
            .map(|part| folder.join(part))
            .iter()
            .filter(|part| part.exists())
        {
            collect(part, &mut files).unwrap();
        }
    }
    for file in files {
        let target = copy.path().join(file.strip_prefix(&root).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
    copy
}

fn digest(root: &Path) -> String {
    let sources = gather(root, PACKAGE).unwrap();
    blake3::hash(&sources.text).to_hex().to_string()
}

/// What the copy gathers after a change of it.
fn after(change: impl FnOnce(&Path)) -> String {
    let copy = copy();
    change(copy.path());
    digest(copy.path())
}

/// The one file of a crate of the workspace whose path ends like this.
fn file(root: &Path, end: &str) -> PathBuf {
    let mut files = BTreeSet::new();
    collect(root, &mut files).unwrap();
    let mut found = files.into_iter().filter(|file| file.ends_with(end));
    let file = found.next().unwrap();
    assert_eq!(found.next(), None, "{end}");
    file
}

fn edit(root: &Path, end: &str, change: impl FnOnce(&str) -> String) {
    let file = file(root, end);
    let text = fs::read_to_string(&file).unwrap();
    let new = change(&text);
    assert_ne!(new, text);
    fs::write(file, new).unwrap();
}

#[test]
fn whatever_decides_pass_or_fail_counts() {
    let here = digest(&workspace());
    assert_eq!(after(|_| ()), here, "the place of a checkout counts");
    for part in [
        // Judges, probes, budgets, faults and what they stand on.
        "checks/lifecycle.rs",
        "smoke/src/facts.rs",
        "smoke/src/verdict.rs",
        "container/src/load.rs",
        "container/src/ask.rs",
        "faults/crash.rs",
        "fixture/inside.rs",
        "engine/src/container.rs",
        "engine/src/inventory.rs",
        "definition/src/spec.rs",
        "inputs/src/hex.rs",
    ] {
        assert_ne!(
            after(|root| edit(root, part, |text| format!("{text}\n"))),
            here,
            "{part}"
        );
    }
    let new = |root: &Path| {
        let checks = file(root, "checks/lifecycle.rs");
        fs::write(checks.with_file_name("new.rs"), "//! New.\n").unwrap();
    };
    assert_ne!(after(new), here, "a file that is new");
    let library = |root: &Path| {
        edit(root, "Cargo.lock", |lock| {
            let (before, ureq) = lock.split_once("name = \"ureq\"\nversion = \"").unwrap();
            format!("{before}name = \"ureq\"\nversion = \"9{ureq}")
        });
    };
    assert_ne!(after(library), here, "the version of what speaks HTTP");
}

#[test]
fn what_says_the_same_to_the_compiler_does_not_count() {
    let here = digest(&workspace());
    let windows = |root: &Path| {
        for end in ["checks/lifecycle.rs", "Cargo.lock"] {
            edit(root, end, |text| text.replace('\n', "\r\n"));
        }
    };
    assert_eq!(after(windows), here, "ends of lines");
    let stranger = |root: &Path| {
        edit(root, "Cargo.lock", |lock| {
            format!("{lock}\n[[package]]\nname = \"zzz\"\nversion = \"1.0.0\"\n")
        });
    };
    assert_eq!(after(stranger), here, "a package that it does not depend on");
    for above in ["xtask/src/promote.rs", "build/src/candidate.rs"] {
        let change = |root: &Path| edit(root, above, |text| format!("{text}\n"));
        assert_eq!(after(change), here, "{above}");
    }
}

#[test]
fn a_crate_that_cannot_be_found_is_an_error() {
    let copy = copy();
    assert!(gather(copy.path(), "nobody").is_err());
    edit(copy.path(), "Cargo.lock", |lock| {
        lock.replacen("name = \"inputs\"\n", "name = \"gone\"\n", 1)
    });
    assert!(gather(copy.path(), PACKAGE).is_err());
}
