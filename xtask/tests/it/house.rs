//! The house as a whole: one meaning for each public name, no circle among the
//! modules of a crate, a row of the code map for each of them and for each crate.
//!
//! It reads what there is from `cargo metadata` and the tops of crates; what is
//! still in the way stands in `tests/tidy/house.toml`, which may only become
//! shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::sandbox::{self, repository};

/// What `tests/tidy/house.toml` still lets pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Excused {
    /// A name that means several things → why.
    names: BTreeMap<String, String>,
    /// Modules of a crate that use each other → why.
    circles: Vec<Circle>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Circle {
    #[serde(rename = "crate")]
    of: String,
    modules: BTreeSet<String>,
    reason: String,
}

fn excused() -> Excused {
    let text = fs_err::read_to_string(repository().join("xtask/tests/tidy/house.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// A crate of the workspace.
struct Member {
    name: String,
    source: PathBuf,
    /// The modules that its `lib.rs` or `main.rs` declares.
    modules: BTreeSet<String>,
    /// The crates of the workspace that it is made of, tests left out.
    uses_crates: BTreeSet<String>,
}

fn members() -> Vec<Member> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repository());
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata = sandbox::finish(&mut cargo).expect(0).json();
    let member = |package: &serde_json::Value| {
        let source = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
        let top = |file: &str| fs_err::read_to_string(source.join(file)).unwrap_or_default();
        Member {
            name: package["name"].as_str().unwrap().to_owned(),
            modules: modules(&(top("lib.rs") + &top("main.rs"))),
            uses_crates: dependencies(package),
            source,
        }
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(member)
        .collect()
}

/// The modules that the top of a crate declares, those of its tests left out.
fn modules(top: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut of_tests = false;
    for line in top.lines() {
        if line.starts_with("#[") {
            of_tests |= line == "#[cfg(test)]";
            continue;
        }
        let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ");
        if let Some(name) = declared.and_then(|rest| rest.strip_suffix(';'))
            && !of_tests
        {
            found.insert(name.to_owned());
        }
        of_tests = false;
    }
    found
}

fn dependencies(package: &serde_json::Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    let ours = all.filter(|dependency| dependency["path"].is_string() && dependency["kind"].is_null());
    ours.map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

impl Member {
    /// The files of a top module; those of its tests are left out.
    fn files(&self, module: &str) -> Vec<PathBuf> {
        let mut files = vec![self.source.join(format!("{module}.rs"))];
        files.extend(sandbox::files_below(&self.source.join(module), ".rs"));
        files.retain(|file| file.is_file() && file.file_stem().is_some_and(|stem| stem != "tests"));
        files
    }

    /// The other top modules that a module uses.
    fn uses(&self, module: &str) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for file in self.files(module) {
            let top = file.parent() == Some(self.source.as_path());
            let code = code(&fs_err::read_to_string(&file).unwrap());
            used.extend(paths_from(&code, "crate::"));
            if top {
                used.extend(paths_from(&code, "super::"));
            }
        }
        used.retain(|name| name != module && self.modules.contains(name));
        used
    }
}

/// A file without comments and without its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The first names of all paths that start like this: `a` and `c` of
/// `crate::a::b` and `crate::{c, a::d}`.
fn paths_from(code: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in code.split(start).skip(1) {
        let Some(list) = path.strip_prefix('{') else {
            found.insert(name_at(path));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => found.insert(name_at(&std::mem::take(&mut item))),
                _ => {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    item.push(c);
                    false
                }
            };
        }
        found.insert(name_at(&item));
    }
    found
}

fn name_at(path: &str) -> String {
    let name = path.trim_start();
    name.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Modules that reach each other, as groups of two or more.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = uses[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module.clone()) {
                next.extend(&uses[module]);
            }
        }
        reached
    };
    let all: BTreeMap<&String, BTreeSet<String>> = uses.keys().map(|name| (name, reached(name))).collect();
    let mut circles = BTreeSet::new();
    for (name, reached) in &all {
        if reached.contains(*name) {
            let back = reached.iter().filter(|other| all[other].contains(*name));
            circles.insert(back.cloned().collect());
        }
    }
    circles
}

#[test]
fn circles_and_paths_are_found() {
    let code = "use crate::{a, b::{x, y}, c::d as e};\nfn f() { crate::g::h(); super::i::j() }";
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(paths_from(code, "crate::"), names(&["a", "b", "c", "g"]));
    assert_eq!(paths_from(code, "super::"), names(&["i"]));
    let uses = [("a", &["b"][..]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])];
    let uses = uses.map(|(name, used)| (name.to_owned(), names(used))).into();
    assert_eq!(circles(&uses), BTreeSet::from([names(&["b", "c"])]));
}

#[test]
fn no_modules_of_a_crate_use_each_other() {
    let mut found = BTreeMap::new();
    for member in members() {
        let uses = member
            .modules
            .iter()
            .map(|module| (module.clone(), member.uses(module)))
            .collect();
        for circle in circles(&uses) {
            let edges: Vec<String> = circle
                .iter()
                .map(|module| {
                    let inside: Vec<&str> = uses[module].intersection(&circle).map(String::as_str).collect();
                    format!("{module} → {}", inside.join(", "))
                })
                .collect();
            found.insert((member.name.clone(), circle), edges);
        }
    }
    for circle in excused().circles {
        let before = found.len();
        found.retain(|(of, modules), _| *of != circle.of || !modules.is_subset(&circle.modules));
        assert!(
            found.len() < before && !circle.reason.is_empty(),
            "{}: {:?} is no circle any more: take it out of house.toml",
            circle.of,
            circle.modules
        );
    }
    assert!(found.is_empty(), "modules that use each other: {found:#?}");
}

#[test]
fn a_public_name_means_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members() {
        for file in sandbox::files_below(&member.source, ".rs") {
            let text = fs_err::read_to_string(&file).unwrap();
            for line in code(&text).lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let [public, "struct" | "enum" | "trait" | "type" | "union", name, ..] = words[..]
                    && public == "pub"
                {
                    let place = file.strip_prefix(repository()).unwrap().display().to_string();
                    places.entry(name_at(name)).or_default().push(place);
                }
            }
        }
    }
    assert!(places.len() > 50, "{} names", places.len());
    places.retain(|_, places| places.len() > 1);
    let known = excused().names;
    let mut problems = Vec::new();
    for (name, places) in &places {
        if known.get(name).is_none_or(String::is_empty) {
            problems.push(format!("{name} is public in {}", places.join(" and ")));
        }
    }
    let single = known.keys().filter(|name| !places.contains_key(*name));
    problems.extend(single.map(|name| format!("{name} means one thing: take it out of house.toml")));
    assert!(
        problems.is_empty(),
        "give one another name, or house.toml a reason: {problems:#?}"
    );
}

/// Rows of the code map: the names of the first cell, and the second cell.
fn code_map() -> Vec<(String, String)> {
    let text = fs_err::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let map = text.split("## Code map").nth(1).unwrap();
    let map = map.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(" | ").next()?.to_owned()))
    };
    map.lines().filter_map(row).collect()
}

/// `smoke` for a crate, `smoke::suite` for a module that the top of it declares.
#[test]
fn the_code_map_has_each_crate_and_top_module_once() {
    let mut mapped: Vec<String> = code_map().into_iter().map(|(name, _)| name).collect();
    for member in members() {
        let modules = member
            .modules
            .iter()
            .map(|module| format!("{}::{module}", member.name));
        for name in modules.chain([member.name.clone()]) {
            let before = mapped.len();
            mapped.retain(|mapped| *mapped != name);
            let rows = before - mapped.len();
            assert_eq!(rows, 1, "rows of `{name}` in the code map of ARCHITECTURE.md");
        }
        // What only tests and a build script read may have a row, too.
        let file = |name: &str| member.source.join(name).with_extension("rs");
        mapped.retain(|name| {
            let module = name.strip_prefix(&format!("{}::", member.name));
            module.is_none_or(|module| !file(module).is_file())
        });
    }
    assert!(mapped.is_empty(), "in the code map, and nowhere else: {mapped:?}");
}

/// What a crate uses stands in its row, or in the row of what it uses.
#[test]
fn the_code_map_tells_what_a_crate_uses() {
    let told: BTreeMap<String, BTreeSet<String>> = code_map()
        .into_iter()
        .map(|(name, uses)| {
            (
                name,
                uses.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
            )
        })
        .collect();
    for member in members() {
        let mut may = told[&member.name].clone();
        let mut next: Vec<String> = may.iter().cloned().collect();
        while let Some(name) = next.pop() {
            next.extend(
                told[&name]
                    .iter()
                    .filter(|name| may.insert((*name).clone()))
                    .cloned(),
            );
        }
        assert!(
            member.uses_crates.is_subset(&may),
            "{} uses {:?}, and its row says {may:?}",
            member.name,
            member.uses_crates
        );
    }
}
