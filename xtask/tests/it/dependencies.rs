//! What we depend on, and what is said of our own crates: `cargo metadata` and
//! the lock against `tests/tidy/dependencies.toml`, without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::sandbox::{self, repository};

/// Where every crate comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What `tests/tidy/dependencies.toml` lets crates be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    licences: BTreeSet<String>,
    /// Crates that may be there in two versions, each with the reason.
    duplicates: BTreeMap<String, String>,
}

fn allowed() -> Allowed {
    let text = fs_err::read_to_string(repository().join("xtask/tests/tidy/dependencies.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// `cargo metadata` of this platform's crates, which a build has fetched.
fn metadata() -> Value {
    let version = sandbox::finish(Command::new("rustc").arg("-vV")).expect(0).stdout;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(repository())
        .args(["metadata", "--format-version", "1"]);
    cargo.args(["--offline", "--locked", "--filter-platform", host]);
    sandbox::finish(&mut cargo).expect(0).json()
}

fn packages(metadata: &Value, ours: bool) -> Vec<&Value> {
    let all = metadata["packages"].as_array().unwrap();
    all.iter()
        .filter(|package| package["source"].is_null() == ours)
        .collect()
}

/// Every crate of the lock, of any platform.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn locked() -> Vec<Locked> {
    let text = fs_err::read_to_string(repository().join("Cargo.lock")).unwrap();
    toml::from_str::<Lock>(&text).unwrap().package
}

#[test]
fn every_licence_is_one_we_may_use() {
    let (metadata, allowed) = (metadata(), allowed());
    let theirs = packages(&metadata, false);
    assert!(theirs.len() > 20, "{} crates", theirs.len());
    let licence = |package: &Value| package["license"].as_str().unwrap_or("none").to_owned();
    for package in &theirs {
        assert!(
            allowed.licences.contains(&licence(package)),
            "{}: {}",
            package["name"],
            licence(package)
        );
    }
    let used: BTreeSet<String> = theirs.iter().map(|package| licence(package)).collect();
    assert_eq!(allowed.licences, used, "a licence that no crate has any more");
}

#[test]
fn every_crate_comes_from_the_default_registry() {
    for package in locked() {
        // Without a source: a member of the workspace.
        if let Some(source) = package.source {
            assert_eq!(source, REGISTRY, "{} {}", package.name, package.version);
        }
    }
}

#[test]
fn two_versions_of_a_crate_have_a_reason() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in locked() {
        versions.entry(package.name).or_default().push(package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let known = allowed().duplicates;
    for (name, versions) in &versions {
        assert!(
            known.get(name).is_some_and(|reason| !reason.is_empty()),
            "{name}: {}",
            versions.join(" and ")
        );
    }
    for name in known.keys() {
        assert!(
            versions.contains_key(name),
            "{name} is there once: take it out of `duplicates`"
        );
    }
}

#[test]
fn our_crates_have_the_licence_and_are_not_published() {
    for package in packages(&metadata(), true) {
        let name = &package["name"];
        assert_eq!(
            package["license"], "MIT OR Apache-2.0",
            "{name}: write `license.workspace = true`"
        );
        assert_eq!(
            package["publish"],
            serde_json::json!([]),
            "{name}: write `publish.workspace = true`"
        );
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(repository().join(file).is_file(), "{file}");
    }
}

/// What is built is what is claimed: no job has another version.
#[test]
fn one_version_of_rust_is_named_everywhere() {
    let read = |file: &str| fs_err::read_to_string(repository().join(file)).unwrap();
    let toolchain: toml::Table = toml::from_str(&read("rust-toolchain.toml")).unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let minor = channel.rsplit_once('.').unwrap().0;
    for package in packages(&metadata(), true) {
        assert_eq!(package["rust_version"], minor, "{}", package["name"]);
    }
    assert!(
        read("README.md").contains(&format!("Rust {minor} ")),
        "README.md needs Rust {minor}"
    );
}
