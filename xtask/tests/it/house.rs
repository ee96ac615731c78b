//! The house as a whole: one meaning for each public name, no circle among the
//! modules of a crate, a row of the code map for each of them.
//!
//! It reads what there is from `cargo metadata` and `lib.rs`; what is still in the
//! way stands in `tests/tidy/house.toml`, which may only become shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::sandbox::{self, repository};

/// What `house.toml` excuses.
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
    /// The modules that its `lib.rs` declares.
    modules: BTreeSet<String>,
}

fn members() -> Vec<Member> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(repository());
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata = sandbox::finish(&mut cargo).expect(0).json();
    let member = |package: &serde_json::Value| {
        let source = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
        let library = fs_err::read_to_string(source.join("lib.rs")).unwrap_or_default();
        let module = |line: &str| {
            let (_, rest) = line.split_once("mod ")?;
            Some(rest.strip_suffix(';')?.to_owned()).filter(|_| !line.starts_with(char::is_whitespace))
        };
        Member {
            name: package["name"].as_str().unwrap().to_owned(),
            modules: library.lines().filter_map(module).collect(),
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
        assert!(!circle.reason.is_empty());
        let key = (circle.of, circle.modules);
        assert!(
            found.remove(&key).is_some(),
            "{key:?} is another circle by now, or none: bring house.toml up to date; there are {found:#?}"
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

/// Each table of the code map stands below a line that begins with the folder it
/// is about, such as `xtask/src/`; the first cell of a row names its modules.
#[test]
fn the_code_map_has_each_module_once() {
    let text = fs_err::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let map = text
        .split("## Code map")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folder = String::new();
    for line in map.lines() {
        let named: Vec<&str> = line.split('`').collect();
        if let ["", path, ..] = named[..] {
            path.clone_into(&mut folder);
        } else if let Some(row) = line.strip_prefix("| `") {
            let cell = row.split(" | ").next().unwrap();
            let modules: BTreeSet<&str> = cell
                .split('`')
                .step_by(2)
                .map(|name| name.trim_end_matches('/'))
                .collect();
            let modules = modules
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
            rows.entry(folder.clone()).or_default().extend(modules);
        }
    }
    for member in members() {
        let folder = member
            .source
            .strip_prefix(repository())
            .unwrap()
            .display()
            .to_string()
            + "/";
        let mut mapped = rows.remove(&folder).unwrap_or_default();
        mapped.sort();
        let mut expected: Vec<String> = member.modules.into_iter().collect();
        // The program itself, where a crate has one beside its library.
        expected.extend(mapped.iter().find(|name| *name == "main").cloned());
        expected.sort();
        assert_eq!(
            mapped, expected,
            "the code map's rows of `{folder}`, and its modules"
        );
    }
}
