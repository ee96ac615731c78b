//! A definition's steps, each with a key over all that BuildKit's cache looks
//! at before it runs the step. Pure.
//!
//! A step is what BuildKit counts as one: `RUN`, `COPY`, `ADD`, `WORKDIR`, and
//! `FROM` where it names an outside image. Two steps with equal keys have equal
//! results in BuildKit's cache; the other way round does not hold, since `COPY`
//! of a stage's file goes by what is in the file, which nobody knows before
//! that stage was built.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dockerfile::{Dockerfile, DockerfileStage, Instruction, parse};
use super::settings::{Settings, globals, joined};
use super::shown::{described, shown};
use super::variables::{Values, expand};
use definition::Definition;
use definition::step::StepPlace;
use inputs::context::{Inputs, source};
use inputs::fingerprint::encoding;

/// A step of a build, with all that its cache key follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStep {
    pub(crate) place: StepPlace,
    /// The instruction on one line, for people.
    pub(crate) instruction: String,
    /// How BuildKit describes what this step leaves in its cache.
    pub(crate) described: String,
    /// Over its parts, what it stands on, and the stages it reads.
    pub(crate) key: String,
    /// What the key is made of, besides other steps.
    pub(crate) parts: Parts,
    /// The steps whose result it is run upon; none for an outside base. All
    /// those before it where that counts by its content.
    pub(crate) below: Vec<usize>,
    /// Whether it goes by the files below it, not by the steps that made them.
    /// BuildKit does so for a `RUN` with a secret or SSH mount (seen with engine
    /// 26.1 and 28.5): a new step before it that changes no file leaves it
    /// cached, which it does not for any other `RUN`.
    pub(crate) by_content: bool,
    /// What it reads of stages.
    pub(crate) reads: Vec<StageRead>,
    /// Where it puts what it reads of a context.
    pub(crate) writes: Option<String>,
}

/// Digests of what a step's key is made of, so that one can say by what it
/// differs from that of an earlier build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The instruction with its flags and here-documents.
    pub(crate) instruction: String,
    /// Variables, user, shell and folder that it runs with.
    pub(crate) variables: String,
    /// What it reads of contexts.
    pub(crate) inputs: String,
    /// The outside base, where it stands right on it.
    pub(crate) base: String,
}

/// A part of a stage that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageRead {
    /// All steps of that stage, and of those it descends from.
    pub(crate) chain: Vec<usize>,
    /// The path in the stage.
    pub(crate) path: String,
}

/// What a stage leaves to the ones that descend from it.
#[derive(Clone, Debug, Default)]
struct State {
    /// Names what the steps so far make.
    root: String,
    below: Vec<usize>,
    chain: Vec<usize>,
    settings: Settings,
}

/// All steps that the target needs, in the order of the Dockerfile. `None`
/// where the Dockerfile is written in a way that is not known here. With
/// `linked`, what `COPY --link` makes does not depend on the steps before it,
/// as in an engine with containerd's image store.
pub fn steps(definition: &Definition, linked: bool) -> Option<Vec<BuildStep>> {
    let file = parse(&definition.dockerfile)?;
    let mut walk = Walk {
        definition,
        linked,
        globals: globals(&file, &definition.arguments)?,
        digests: BTreeMap::new(),
        steps: Vec::new(),
        states: BTreeMap::new(),
    };
    for stage in needed(&file, definition)? {
        let state = walk.stage(stage)?;
        walk.states.insert(stage.name.clone(), state);
    }
    Some(walk.steps)
}

/// The target's stage and those it needs, in the order of the file.
fn needed<'f>(file: &'f Dockerfile, definition: &Definition) -> Option<Vec<&'f DockerfileStage>> {
    let position = |name: &str| {
        file.stages
            .iter()
            .position(|stage| stage.name == name.to_lowercase())
    };
    let mut wanted = vec![position(&definition.target)?];
    let mut found = vec![false; file.stages.len()];
    while let Some(at) = wanted.pop() {
        if std::mem::replace(&mut found[at], true) {
            continue;
        }
        let stage = &file.stages[at];
        let mut names = vec![stage.base.clone()];
        for instruction in &stage.instructions {
            names.extend(instruction.flag("from").map(str::to_owned));
            names.extend(mounts(instruction).filter_map(|mount| mount.get("from").cloned()));
        }
        for name in names {
            // A named context takes the place of a stage.
            if definition.contexts.contains_key(&name) {
                continue;
            }
            let number = name.parse().ok().filter(|number| *number < at);
            wanted.extend(position(&name).filter(|other| *other < at).or(number));
        }
    }
    let stages = file.stages.iter().zip(found);
    Some(
        stages
            .filter(|(_, found)| *found)
            .map(|(stage, _)| stage)
            .collect(),
    )
}

/// The mounts of a `RUN`, each as its options.
fn mounts(instruction: &Instruction) -> impl Iterator<Item = BTreeMap<String, String>> {
    let flags = instruction.flags.iter().filter(|(name, _)| name == "mount");
    flags.map(|(_, value)| {
        let options = value.split(',');
        options
            .map(|option| {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                let key = if key == "src" { "source" } else { key };
                (key.to_lowercase(), value.to_owned())
            })
            .collect()
    })
}

struct Walk<'d> {
    definition: &'d Definition,
    linked: bool,
    globals: Values,
    /// Context and source → digest: several steps read the same.
    digests: BTreeMap<(String, String), String>,
    steps: Vec<BuildStep>,
    states: BTreeMap<String, State>,
}

/// What a step reads, collected before its key is made.
#[derive(Default)]
struct Reads {
    inputs: Vec<String>,
    stages: Vec<StageRead>,
    /// Names of what the stages make.
    roots: Vec<String>,
}

impl Walk<'_> {
    fn stage(&mut self, stage: &DockerfileStage) -> Option<State> {
        let inherited = self.states.get(&stage.base.to_lowercase()).cloned();
        let outside = inherited.is_none();
        let mut state = inherited.unwrap_or_else(|| self.outside_base(&stage.base));
        state.settings.arguments = Values::new();
        let is_step = |instruction: &&Instruction| {
            matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD" | "WORKDIR")
        };
        let first = usize::from(outside);
        let of = first + stage.instructions.iter().filter(is_step).count();
        let mut number = first;
        for instruction in &stage.instructions {
            if instruction.keyword == "WORKDIR" && state.settings.folder(instruction)? == "/" {
                // It is counted, and makes nothing: it is never shown.
                "/".clone_into(&mut state.settings.workdir);
            } else if is_step(&instruction) {
                number += 1;
                let place = StepPlace {
                    stage: stage.name.clone(),
                    step: number,
                    of,
                };
                self.step(&mut state, instruction, place)?;
            } else {
                let given = &self.definition.arguments;
                state.settings.set(instruction, given, &self.globals)?;
            }
        }
        Some(state)
    }

    /// The base is known by its content, whatever it is called; any other
    /// image by its name.
    fn outside_base(&self, name: &str) -> State {
        let values = &self.globals;
        let is_base = expand(name, &Values::from([("BASE".to_owned(), "\0".to_owned())]));
        let root = if is_base.as_deref() == Some("\0") {
            self.definition.base.clone()
        } else {
            expand(name, values).unwrap_or_else(|| name.to_owned())
        };
        State {
            root: named(&["from", &root, self.definition.platform.as_str()]),
            ..State::default()
        }
    }

    fn step(&mut self, state: &mut State, instruction: &Instruction, place: StepPlace) -> Option<()> {
        let index = self.steps.len();
        let scope = state.settings.scope();
        let keyword = instruction.keyword.as_str();
        let mut reads = Reads::default();
        let mut variables: Vec<String> = Vec::new();
        let mut writes = None;
        let mut separate = false;
        match keyword {
            "RUN" => {
                for mount in mounts(instruction) {
                    self.mount(&mount, &scope, &mut reads)?;
                }
                let all = scope.iter().map(|(name, value)| format!("{name}={value}"));
                variables.extend(all);
                variables.extend(
                    [
                        &state.settings.user,
                        &state.settings.shell,
                        &state.settings.workdir,
                    ]
                    .map(|text| format!("\0{text}")),
                );
            }
            "WORKDIR" => {
                state.settings.workdir = state.settings.folder(instruction)?;
                variables.push(state.settings.workdir.clone());
            }
            _ => {
                writes = self.copy(instruction, &state.settings, &mut reads, &mut variables)?;
                separate = self.linked && instruction.flag("link").is_some_and(|value| value != "false");
            }
        }
        let on_base = state.below.is_empty() && !separate;
        let parts = Parts {
            instruction: instruction_digest(instruction),
            variables: digest_of(&variables),
            inputs: digest_of(&reads.inputs),
            base: if on_base {
                state.root.clone()
            } else {
                String::new()
            },
        };
        let mut fields = vec!["step", &parts.instruction, &parts.variables, &parts.inputs];
        fields.extend(reads.roots.iter().map(String::as_str));
        if !separate {
            fields.push(&state.root);
        }
        let key = named(&fields);
        let by_content = mounts(instruction)
            .any(|mount| matches!(mount.get("type").map(String::as_str), Some("secret" | "ssh")));
        let below = match (separate, by_content) {
            (true, _) => Vec::new(),
            (false, true) => state.chain.clone(),
            (false, false) => state.below.clone(),
        };
        if separate {
            // What follows stands upon both.
            state.root = named(&["merge", &state.root, &key]);
            state.below.push(index);
        } else {
            state.root.clone_from(&key);
            state.below = vec![index];
        }
        state.chain.push(index);
        self.steps.push(BuildStep {
            instruction: shown(instruction),
            described: described(instruction, &place, &state.settings.shell),
            place,
            key,
            parts,
            below,
            by_content,
            reads: reads.stages,
            writes,
        });
        Some(())
    }

    /// Takes what a `COPY` or `ADD` reads and the variables that count of it; the place
    /// that it writes to, where that is from a context.
    fn copy(
        &mut self,
        instruction: &Instruction,
        settings: &Settings,
        reads: &mut Reads,
        variables: &mut Vec<String>,
    ) -> Option<Option<String>> {
        let scope = settings.scope();
        let mut words = instruction.words();
        let to = expand(&words.pop()?, &scope)?;
        let to = joined(&settings.workdir, &to);
        let from = match instruction.flag("from") {
            Some(from) => expand(from, &scope)?,
            None => String::new(),
        };
        for word in &words {
            if is_heredoc(word) {
                continue;
            }
            let source = expand(word, &scope)?;
            self.read(&from, &source, reads)?;
            variables.push(source);
        }
        for heredoc in instruction.heredocs.iter().filter(|heredoc| heredoc.expand) {
            // Its text counts; so does what it names.
            variables.push(expand_lines(&heredoc.body, &scope));
        }
        for (_, value) in &instruction.flags {
            variables.push(expand(value, &scope)?);
        }
        let writes = (from.is_empty() && !words.is_empty()).then(|| to.clone());
        variables.push(to);
        Some(writes)
    }

    fn mount(&mut self, mount: &BTreeMap<String, String>, scope: &Values, reads: &mut Reads) -> Option<()> {
        if !matches!(mount.get("type").map(String::as_str), None | Some("bind")) {
            return Some(());
        }
        let from = mount.get("from").map_or("", String::as_str);
        let source = mount.get("source").map_or("/", String::as_str);
        self.read(&expand(from, scope)?, &expand(source, scope)?, reads)
    }

    /// A source in a context (the main one's name is empty), a stage, or an
    /// image that is known by its name alone.
    fn read(&mut self, from: &str, source: &str, reads: &mut Reads) -> Option<()> {
        if let Some(inputs) = self.definition.contexts.get(from) {
            let digest = self.digest(from, source, inputs);
            reads.inputs.push(digest);
            return Some(());
        }
        if from.is_empty() {
            // No main context: nothing to read, and the build will say so.
            return None;
        }
        if let Some(state) = self.states.get(&from.to_lowercase()) {
            reads.roots.push(state.root.clone());
            reads.stages.push(StageRead {
                chain: state.chain.clone(),
                path: joined("/", source),
            });
            return Some(());
        }
        // `--from=0` is a stage, too, and not worth more.
        if from.parse::<usize>().is_ok() {
            return None;
        }
        reads.inputs.push(from.to_owned());
        Some(())
    }

    fn digest(&mut self, context: &str, path: &str, inputs: &Inputs) -> String {
        let path = joined("/", path);
        let known = self.digests.entry((context.to_owned(), path.clone()));
        known.or_insert_with(|| source::digest(inputs, &path)).clone()
    }
}

fn is_heredoc(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit())
        .starts_with("<<")
}

/// With the variables of each line filled in, and lines that cannot be as they
/// are.
fn expand_lines(text: &str, scope: &Values) -> String {
    let lines = text
        .lines()
        .map(|line| expand(line, scope).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

/// The instruction as BuildKit takes it apart: a `COPY` by its words, a `RUN`
/// by its text.
fn instruction_digest(instruction: &Instruction) -> String {
    let mut fields = vec![instruction.keyword.clone()];
    let flags = instruction.flags.iter();
    fields.extend(flags.map(|(name, value)| format!("--{name}={value}")));
    if instruction.keyword == "RUN" {
        fields.push(instruction.text.clone());
    } else {
        fields.extend(instruction.words());
    }
    let heredocs = instruction.heredocs.iter();
    fields.extend(heredocs.map(|heredoc| format!("<<{}\n{}", heredoc.name, heredoc.body)));
    digest_of(&fields)
}

fn digest_of(fields: &[String]) -> String {
    named(&fields.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A short name for a list of texts.
fn named(fields: &[&str]) -> String {
    let name = encoding::fingerprint("step", 1, |frame| frame.list("fields", fields));
    name.to_string()[..24].to_owned()
}

#[cfg(test)]
pub(super) mod tests;
