//! Our reading of ignore files against BuildKit's own.
//!
//! A generator makes trees and ignore files; BuildKit copies each tree into an
//! empty image and that back out. What came out has to be what our walk says.
//! `HIVE_TEST_CASES` sets how many cases, `HIVE_TEST_SEED` which. A failing
//! case is shrunk and printed in the form of `fixtures/ignore.json`, whose
//! cases are checked without an engine too.

mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use inputs::context::problem::What;
use inputs::context::walk::walk;
use inputs::context::{Ignore, InputKind, Rules, WalkOptions};
use serde_json::{Value, json};

use crate::sandbox;
use random::Random;

/// Cases in one call of bake: each is a target.
const BATCH: usize = 40;

/// A tree and an ignore file.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    ignore: Vec<u8>,
    /// Path to what is there; parents are implied.
    tree: BTreeMap<Vec<u8>, Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    File(String),
    Directory,
    Link(String),
}

impl Node {
    /// Reads it as fixtures write it: a text, `directory` or `link to …`.
    fn parse(text: &str) -> Self {
        match text.strip_prefix("link to ") {
            Some(target) => Self::Link(target.to_owned()),
            None if text == "directory" => Self::Directory,
            None => Self::File(text.to_owned()),
        }
    }
}

/// What a build would see; text of each entry by path.
#[derive(Debug, PartialEq)]
enum Outcome {
    Entries(BTreeMap<String, String>),
    Refused(String),
}

impl Case {
    fn write(&self, root: &Path) {
        fs::create_dir_all(root).unwrap();
        for (path, node) in &self.tree {
            let path = root.join(OsStr::from_bytes(path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match node {
                Node::File(content) => fs::write(path, content).unwrap(),
                Node::Directory => fs::create_dir_all(path).unwrap(),
                Node::Link(target) => symlink(target, path).unwrap(),
            }
        }
        fs::write(root.join(".dockerignore"), &self.ignore).unwrap();
    }

    /// What our walk says. Files that BuildKit empties are entries here: they
    /// have to come out of it empty.
    fn ours(&self, root: &Path) -> Outcome {
        let ignore = match Ignore::parse(&self.ignore) {
            Ok(ignore) => ignore,
            Err(problems) => return Outcome::Refused(format!("{problems:?}")),
        };
        let problems = match walk(root, &Rules::exact(ignore), &WalkOptions::default()) {
            Ok(found) => return entries(&found.inputs),
            Err(problems) => problems,
        };
        let mut emptied = self.clone();
        for problem in &problems {
            let file = emptied.tree.get_mut(problem.path.as_bytes());
            match (&problem.what, file) {
                (What::Pattern(text), Some(file)) if text.ends_with("would send it empty") => {
                    *file = Node::File(String::new());
                }
                _ => return Outcome::Refused(format!("{problems:?}")),
            }
        }
        let copy = tempfile::tempdir().unwrap();
        emptied.write(copy.path());
        emptied.ours(copy.path())
    }

    fn from_json(json: &Value) -> Self {
        let tree = json["tree"].as_object().unwrap().iter();
        let node = |(path, text): (&String, &Value)| {
            (path.clone().into_bytes(), Node::parse(text.as_str().unwrap()))
        };
        Self {
            ignore: json["ignore"].as_str().unwrap().into(),
            tree: tree.map(node).collect(),
        }
    }

    fn to_json(&self, outcome: &Outcome) -> Value {
        let text = |node: &Node| match node {
            Node::File(content) => content.clone(),
            Node::Directory => "directory".to_owned(),
            Node::Link(target) => format!("link to {target}"),
        };
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let nodes = self.tree.iter();
        let tree: BTreeMap<String, String> = nodes.map(|(at, node)| (path(at), text(node))).collect();
        let mut json = json!({ "ignore": path(&self.ignore), "tree": tree });
        match outcome {
            Outcome::Entries(_) => json["kept"] = json!(outcome.paths()),
            Outcome::Refused(_) => json["refused"] = json!(true),
        }
        json
    }
}

impl Outcome {
    /// What is kept of the tree; empty where all is refused.
    fn paths(&self) -> Vec<&str> {
        let Self::Entries(entries) = self else {
            return Vec::new();
        };
        let paths = entries.keys().map(String::as_str);
        paths.filter(|path| *path != ".dockerignore").collect()
    }
}

fn entries(inputs: &[inputs::context::Input]) -> Outcome {
    let text = |kind: &InputKind| match kind {
        InputKind::File { digest, size, .. } => format!("{size} bytes {digest}"),
        InputKind::Directory => "directory".to_owned(),
        InputKind::Symlink { target } => format!("link to {target}"),
    };
    let entries = inputs
        .iter()
        .map(|input| (input.path.to_string(), text(&input.kind)));
    Outcome::Entries(entries.collect())
}

/// What BuildKit copies out of each case; a batch that fails is tried case by
/// case.
fn buildkit(cases: &[&Case], folder: &Path) -> Vec<Outcome> {
    let dirs: Vec<_> = (0..cases.len())
        .map(|index| folder.join(format!("in{index}")))
        .collect();
    // Of one that is given inline, buildx leaves a copy in /tmp.
    let dockerfile = folder.join("Dockerfile");
    fs::write(&dockerfile, "FROM scratch\nCOPY . /\n").unwrap();
    let mut targets = serde_json::Map::new();
    for (index, (case, dir)) in cases.iter().zip(&dirs).enumerate() {
        if !dir.exists() {
            case.write(dir);
        }
        targets.insert(
            format!("t{index}"),
            json!({
                "context": dir,
                "dockerfile": dockerfile,
                "output": [format!("type=local,dest={}", folder.join(format!("out{index}")).display())],
            }),
        );
    }
    let names: Vec<&String> = targets.keys().collect();
    let file = folder.join("bake.json");
    fs::write(
        &file,
        json!({ "group": { "default": { "targets": names } }, "target": targets }).to_string(),
    )
    .unwrap();
    let mut bake = sandbox::docker();
    bake.args(["buildx", "bake", "--progress=plain", "-f"]).arg(&file);
    bake.env("BUILDX_BAKE_ENTITLEMENTS_FS", "0").current_dir(folder);
    let run = sandbox::finish(&mut bake);
    if run.code == 0 {
        return (0..cases.len())
            .map(|index| copied_out(&folder.join(format!("out{index}"))))
            .collect();
    }
    if let [_] = cases {
        let error = run.stderr.lines().last().unwrap_or_default();
        assert!(!error.contains("Cannot connect"), "{error}");
        return vec![Outcome::Refused(error.to_owned())];
    }
    let single = |(index, case)| {
        let folder = folder.join(format!("single{index}"));
        fs::create_dir(&folder).unwrap();
        buildkit(&[case], &folder).remove(0)
    };
    cases.iter().copied().enumerate().map(single).collect()
}

fn copied_out(folder: &Path) -> Outcome {
    match walk(folder, &Rules::exact(Ignore::default()), &WalkOptions::default()) {
        Ok(found) => entries(&found.inputs),
        // Some versions of BuildKit refuse such names, others copy them.
        Err(problems) if problems.iter().all(|problem| problem.what == What::NotUtf8) => {
            Outcome::Refused(format!("{problems:?}"))
        }
        Err(problems) => panic!("{problems:?}"),
    }
}

fn agree(ours: &Outcome, theirs: &Outcome) -> bool {
    match (ours, theirs) {
        (Outcome::Refused(_), Outcome::Refused(_)) => true,
        (ours, theirs) => ours == theirs,
    }
}

fn fixtures() -> Vec<(Case, Value)> {
    let json: Value = serde_json::from_str(include_str!("../fixtures/ignore.json")).unwrap();
    let cases = json.as_array().unwrap().iter();
    cases.map(|json| (Case::from_json(json), json.clone())).collect()
}

/// What a fixture says came out of BuildKit.
fn assert_as_noted(outcome: &Outcome, json: &Value) {
    let refused = matches!(outcome, Outcome::Refused(_));
    assert_eq!(refused, json["refused"] == true, "{json:#}\n{outcome:?}");
    if !refused {
        assert_eq!(json!(outcome.paths()), json["kept"], "{json:#}");
    }
}

#[test]
fn ignore_fixtures() {
    for (case, json) in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path());
        assert_as_noted(&case.ours(folder.path()), &json);
    }
}

#[test]
#[ignore = "needs an engine"]
fn ignore_fixtures_are_true() {
    let fixtures = fixtures();
    let (refused, fine): (Vec<_>, Vec<_>) = fixtures.iter().partition(|(_, json)| json["refused"] == true);
    for batch in [fine.as_slice()].into_iter().chain(refused.chunks(1)) {
        let folder = tempfile::tempdir().unwrap();
        let cases: Vec<&Case> = batch.iter().map(|(case, _)| case).collect();
        let outcomes = buildkit(&cases, folder.path());
        for ((index, (case, json)), outcome) in batch.iter().enumerate().zip(outcomes) {
            assert_as_noted(&outcome, json);
            // The contents too, emptied files included.
            let ours = case.ours(&folder.path().join(format!("in{index}")));
            assert!(agree(&ours, &outcome), "{json:#}\n{ours:?}\n{outcome:?}");
        }
    }
}

/// The Dockerfile's own ignore file takes the place of the context's, and a
/// named context has its own.
#[test]
#[ignore = "needs an engine"]
fn which_ignore_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for context in ["main", "named"] {
        fs::create_dir(at(context)).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(at(context).join(name), context).unwrap();
        }
        fs::write(at(context).join(".dockerignore"), "a\n").unwrap();
    }
    let dockerfile = at("x.Dockerfile");
    fs::write(
        &dockerfile,
        "FROM scratch\nCOPY . /main/\nCOPY --from=named / /named/\n",
    )
    .unwrap();
    for own in [None, Some("b\n"), Some("")] {
        if let Some(text) = own {
            fs::write(at("x.Dockerfile.dockerignore"), text).unwrap();
        }
        let out = tempfile::tempdir().unwrap();
        let mut build = sandbox::docker();
        build
            .args(["buildx", "build", "--quiet", "--file"])
            .arg(&dockerfile);
        build.arg(format!("--build-context=named={}", at("named").display()));
        build.arg(format!("--output=type=local,dest={}", out.path().display()));
        let run = sandbox::finish(build.arg(at("main")));
        assert_eq!(run.code, 0, "{}", run.stderr);
        for (context, dockerfile) in [("main", Some(dockerfile.as_path())), ("named", None)] {
            let rules = Rules::exact(build::context::ignore(&at(context), dockerfile).unwrap());
            let ours = entries(
                &walk(&at(context), &rules, &WalkOptions::default())
                    .unwrap()
                    .inputs,
            );
            assert_eq!(
                ours,
                copied_out(&out.path().join(context)),
                "{context} with {own:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs an engine"]
fn ignore_files_mean_what_buildkit_makes_of_them() {
    let count = sandbox::number("HIVE_TEST_CASES").unwrap_or(200);
    let seed = sandbox::number("HIVE_TEST_SEED").unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let cases: Vec<Case> = (0..count).map(|_| random.case()).collect();
    let mut wrong = Vec::new();
    let mut refused = 0;
    let mut some = 0;
    let (fine, faulty): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path());
        matches!(case.ours(folder.path()), Outcome::Entries(_))
    });
    for batch in fine.chunks(BATCH).chain(faulty.chunks(1)) {
        let folder = tempfile::tempdir().unwrap();
        let theirs = buildkit(batch, folder.path());
        for (index, (case, theirs)) in batch.iter().zip(theirs).enumerate() {
            let tree = folder.path().join(format!("in{index}"));
            let ours = case.ours(&tree);
            refused += usize::from(matches!(ours, Outcome::Refused(_)));
            if let Outcome::Entries(entries) = &ours {
                let all = walkdir::WalkDir::new(&tree).min_depth(1).into_iter().count();
                some += usize::from((2..all).contains(&entries.len()));
            }
            if !agree(&ours, &theirs) {
                wrong.push((*case).clone());
            }
        }
    }
    eprintln!(
        "{count} cases: {some} keep a part, {refused} are refused, {} differ",
        wrong.len()
    );
    assert!(some * 4 > count as usize, "the generator makes dull cases");
    for case in wrong.iter().take(3) {
        let (case, ours, theirs) = shrink(case.clone());
        eprintln!(
            "{:#}\nours: {ours:#?}\nBuildKit's: {theirs:#?}",
            case.to_json(&theirs)
        );
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} cases differ (seed {seed})",
        wrong.len()
    );
}

/// Takes away lines and entries as long as the case still fails.
fn shrink(mut case: Case) -> (Case, Outcome, Outcome) {
    let differs = |case: &Case| {
        let folder = tempfile::tempdir().unwrap();
        let theirs = buildkit(&[case], folder.path()).remove(0);
        let ours = case.ours(&folder.path().join("in0"));
        (!agree(&ours, &theirs)).then_some((ours, theirs))
    };
    let mut outcome = differs(&case);
    loop {
        let mut smaller: Vec<Case> = Vec::new();
        let lines: Vec<&[u8]> = case.ignore.split(|byte| *byte == b'\n').collect();
        for index in 0..lines.len() {
            let mut lines = lines.clone();
            lines.remove(index);
            smaller.push(Case {
                ignore: lines.join(&b'\n'),
                ..case.clone()
            });
        }
        for path in case.tree.keys() {
            let mut next = case.clone();
            next.tree.remove(path);
            smaller.push(next);
        }
        smaller.retain(|next| *next != case);
        let Some((next, found)) = smaller
            .into_iter()
            .find_map(|next| Some((next.clone(), differs(&next)?)))
        else {
            let (ours, theirs) = outcome.expect("it differed a moment ago");
            return (case, ours, theirs);
        };
        case = next;
        outcome = Some(found);
    }
}
