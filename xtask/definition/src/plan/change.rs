//! What differs between two definitions, as values with a sentence each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use inputs::shown::one_line;
use serde::Serialize;

use super::diff;
use crate::Definition;
use crate::identity::Platform;
use inputs::context::InputKind;

/// The most paths that a change names.
const PATHS: usize = 20;

/// The most of them that its sentence names.
const SHOWN: usize = 3;

/// One difference. Kinds are stable: scripts read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DefinitionChange {
    /// Another content of the base.
    BaseMoved {
        /// The base's identity in the earlier build.
        from: String,
        /// The identity of the base that a build would stand on now.
        to: String,
    },
    /// The image is for another platform, such as `linux/arm64`.
    PlatformChanged {
        /// The platform of the earlier build.
        from: Platform,
        /// The platform that a build would be for now.
        to: Platform,
    },
    /// Another stage is the image.
    TargetChanged {
        /// The stage of the earlier build.
        from: String,
        /// The stage that would be the image now.
        to: String,
    },
    /// A build argument came, went or changed.
    ArgumentChanged {
        /// The name of the `ARG` that the build gives a value.
        name: String,
        /// Before; null where it is new.
        from: Option<String>,
        /// Now; null where it is gone.
        to: Option<String>,
    },
    /// Another text of the Dockerfile.
    DockerfileChanged {
        /// The first line that differs, counted from 1.
        line: usize,
        /// The lines that differ, as a short unified diff.
        diff: Vec<String>,
    },
    /// Files with another content, kind, target or executable bit.
    InputChanged(Paths),
    /// Files that were not there.
    InputAdded(Paths),
    /// Files that are no longer there.
    InputRemoved(Paths),
}

/// Files of one context that changed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// The context's name; the main one's is empty.
    pub(crate) context: String,
    /// The paths that come first when all are sorted.
    pub(crate) paths: Vec<String>,
    /// How many more there are.
    pub(crate) others: usize,
}

impl Paths {
    /// `api/a.py, api/b.py and 32 others`.
    fn shown(&self, limit: usize) -> String {
        let names: Vec<String> = self
            .paths
            .iter()
            .take(limit)
            .map(|path| self.full(path))
            .collect();
        let rest = self.paths.len().saturating_sub(limit) + self.others;
        match rest {
            0 => names.join(", "),
            1 => format!("{} and 1 other", names.join(", ")),
            _ => format!("{} and {rest} others", names.join(", ")),
        }
    }

    fn full(&self, path: &str) -> String {
        if self.context.is_empty() {
            one_line(path).into_owned()
        } else {
            format!("{}:{}", self.context, one_line(path))
        }
    }
}

impl fmt::Display for DefinitionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseMoved { from, to } => write!(f, "base moved from {} to {}", short(from), short(to)),
            Self::PlatformChanged { from, to } => write!(f, "platform {from} → {to}"),
            Self::TargetChanged { from, to } => write!(f, "target stage {from} → {to}"),
            Self::ArgumentChanged { name, from, to } => match (from, to) {
                (None, Some(to)) => write!(f, "argument {name} added: {}", cut(to)),
                (Some(_), None) => write!(f, "argument {name} removed"),
                (from, to) => {
                    let text = |value: &'_ Option<String>| value.clone().unwrap_or_default();
                    let (from, to) = cut_alike(&text(from), &text(to));
                    write!(f, "argument {name} changed: {from} → {to}")
                }
            },
            Self::DockerfileChanged { line, .. } => write!(f, "Dockerfile changed from line {line}"),
            Self::InputChanged(paths) => write!(f, "{} changed", paths.shown(SHOWN)),
            Self::InputAdded(paths) => write!(f, "{} added", paths.shown(SHOWN)),
            Self::InputRemoved(paths) => write!(f, "{} removed", paths.shown(SHOWN)),
        }
    }
}

impl DefinitionChange {
    /// The whole of it, a line each: all paths, the diff.
    pub fn lines(&self) -> Vec<String> {
        let paths = |paths: &Paths, what: &str| -> Vec<String> {
            let mut lines: Vec<String> = paths
                .paths
                .iter()
                .map(|path| format!("input {what}: {}", paths.full(path)))
                .collect();
            match paths.others {
                0 => {}
                1 => lines.push(format!("input {what}: and 1 other")),
                n => lines.push(format!("input {what}: and {n} others")),
            }
            lines
        };
        match self {
            Self::BaseMoved { from, to } => vec![format!("base moved from {from} to {to}")],
            Self::DockerfileChanged { diff, .. } => {
                let mut lines = vec![format!("{self}:")];
                lines.extend(diff.iter().map(|line| format!("  {line}").trim_end().to_owned()));
                lines
            }
            Self::InputChanged(of) => paths(of, "changed"),
            Self::InputAdded(of) => paths(of, "added"),
            Self::InputRemoved(of) => paths(of, "removed"),
            other => vec![other.to_string()],
        }
    }
}

/// What differs, the telling ones first.
pub fn changes(old: &Definition, new: &Definition) -> Vec<DefinitionChange> {
    let mut changes = Vec::new();
    // No `..`: a field that is new has to be told, too.
    let Definition {
        dockerfile,
        target,
        arguments,
        platform,
        base,
        contexts,
    } = old;
    changes.extend(pair(base, &new.base, |from, to| DefinitionChange::BaseMoved {
        from,
        to,
    }));
    changes.extend(pair(platform, &new.platform, |from, to| {
        DefinitionChange::PlatformChanged { from, to }
    }));
    changes.extend(pair(target, &new.target, |from, to| {
        DefinitionChange::TargetChanged { from, to }
    }));
    for name in union(arguments, &new.arguments) {
        let (from, to) = (arguments.get(name), new.arguments.get(name));
        if from != to {
            changes.push(DefinitionChange::ArgumentChanged {
                name: name.clone(),
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    }
    if let Some(line) = diff::first_line(dockerfile, &new.dockerfile) {
        let diff = diff::unified(dockerfile, &new.dockerfile);
        changes.push(DefinitionChange::DockerfileChanged { line, diff });
    }
    for name in union(contexts, &new.contexts) {
        changes.extend(input_changes(name, old, new));
    }
    changes
}

fn input_changes(context: &str, old: &Definition, new: &Definition) -> Vec<DefinitionChange> {
    let by_path = |definition: &'_ Definition| -> BTreeMap<String, InputKind> {
        let inputs = definition.contexts.get(context).map(|inputs| inputs.as_slice());
        let inputs = inputs.unwrap_or_default().iter();
        inputs
            .map(|input| (input.path.to_string(), input.kind.clone()))
            .collect()
    };
    let (old, new) = (by_path(old), by_path(new));
    let (mut changed, mut added, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for path in union(&old, &new) {
        match (old.get(path), new.get(path)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(_), Some(_)) => changed.push(path.clone()),
            (None, _) => added.push(path.clone()),
            (Some(_), None) => removed.push(path.clone()),
        }
    }
    let paths = |mut all: Vec<String>| {
        let others = all.len().saturating_sub(PATHS);
        all.truncate(PATHS);
        Paths {
            context: context.to_owned(),
            paths: all,
            others,
        }
    };
    let mut changes = Vec::new();
    for (all, kind) in [
        (
            changed,
            DefinitionChange::InputChanged as fn(Paths) -> DefinitionChange,
        ),
        (added, DefinitionChange::InputAdded),
        (removed, DefinitionChange::InputRemoved),
    ] {
        if !all.is_empty() {
            changes.push(kind(paths(all)));
        }
    }
    changes
}

fn pair<T: Clone + PartialEq>(
    old: &T,
    new: &T,
    change: fn(T, T) -> DefinitionChange,
) -> Option<DefinitionChange> {
    (old != new).then(|| change(old.clone(), new.clone()))
}

fn union<'a, V>(a: &'a BTreeMap<String, V>, b: &'a BTreeMap<String, V>) -> impl Iterator<Item = &'a String> {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    keys.into_iter()
}

/// `content:sha256:0123456789ab…` → the digits that people compare.
fn short(identity: &str) -> &str {
    let digits = identity.rsplit(':').next().unwrap_or(identity);
    digits.get(..12).unwrap_or(digits)
}

/// Two values in a sentence: of long ones what they differ by.
fn cut_alike(from: &str, to: &str) -> (String, String) {
    const KEPT: usize = 12;
    let same = from.chars().zip(to.chars()).take_while(|(a, b)| a == b).count();
    let skipped = same.saturating_sub(KEPT);
    if skipped <= KEPT {
        return (cut(from), cut(to));
    }
    let tail = |text: &str| format!("…{}", cut(&text.chars().skip(skipped).collect::<String>()));
    (tail(from), tail(to))
}

/// A value in a sentence.
fn cut(value: &str) -> String {
    const LIMIT: usize = 60;
    if value.is_empty() {
        return "(empty)".to_owned();
    }
    if value.chars().count() <= LIMIT {
        return value.to_owned();
    }
    let start: String = value.chars().take(LIMIT).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    fn sentences(change: impl FnOnce(&mut Definition)) -> Vec<String> {
        let mut new = sample();
        change(&mut new);
        changes(&sample(), &new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_field_has_its_sentence() {
        assert!(changes(&sample(), &sample()).is_empty());
        assert_eq!(
            sentences(|d| d.base = "content:sha256:0123456789abcdef".to_owned()),
            ["base moved from 00 to 0123456789ab"]
        );
        assert_eq!(
            sentences(|d| d.platform = "linux/arm64".parse().unwrap()),
            ["platform linux/amd64 → linux/arm64"]
        );
        assert_eq!(
            sentences(|d| d.target = "debug".to_owned()),
            ["target stage production → debug"]
        );
        assert_eq!(
            sentences(|d| drop(d.arguments.insert("PG_MAJOR".to_owned(), "16".to_owned()))),
            ["argument PG_MAJOR changed: 17 → 16"]
        );
        assert_eq!(
            sentences(|d| {
                d.arguments =
                    BTreeMap::from([("A".to_owned(), "x".repeat(99)), ("B".to_owned(), String::new())]);
            }),
            [
                &format!("argument A added: {}…", "x".repeat(60)),
                "argument B added: (empty)",
                "argument PG_MAJOR removed",
            ]
        );
        let (one, other) = (format!("{}1 z", "x".repeat(99)), format!("{}2 z", "x".repeat(99)));
        assert_eq!(
            cut_alike(&one, &other),
            ("…xxxxxxxxxxxx1 z".to_owned(), "…xxxxxxxxxxxx2 z".to_owned())
        );
        assert_eq!(
            sentences(|d| d.dockerfile.push_str("RUN x\n")),
            ["Dockerfile changed from line 2"]
        );
    }

    #[test]
    fn inputs_are_named_with_their_context() {
        let all = sentences(|d| {
            let app = d.contexts.get_mut("").unwrap();
            let mut added = app[0].clone();
            added.path = "new.py".into();
            app[1].kind = InputKind::Directory;
            app.remove(0);
            app.push(added);
            d.contexts.remove("rootfs");
        });
        let want = [
            "uv.lock changed",
            "new.py added",
            "api/serve.py removed",
            "rootfs:etc/x removed",
        ];
        assert_eq!(all, want);
    }

    #[test]
    fn many_paths_are_capped() {
        let mut new = sample();
        let app = new.contexts.get_mut("").unwrap();
        let one = app[0].clone();
        for n in 0..35 {
            let mut more = one.clone();
            more.path = format!("more/{n:02}").into();
            app.push(more);
        }
        let all = changes(&sample(), &new);
        assert_eq!(
            all[0].to_string(),
            "more/00, more/01, more/02 and 32 others added"
        );
        let lines = all[0].lines();
        assert_eq!(lines.len(), PATHS + 1);
        assert_eq!(lines[0], "input added: more/00");
        assert_eq!(lines[PATHS], "input added: and 15 others");
    }

    #[test]
    fn the_dockerfile_comes_with_its_lines() {
        let mut new = sample();
        new.dockerfile = "FROM scratch\nRUN x\n".to_owned();
        assert_eq!(
            changes(&sample(), &new)[0].lines(),
            [
                "Dockerfile changed from line 2:",
                "  @@ -1,1 +1,2 @@",
                "   FROM scratch",
                "  +RUN x"
            ]
        );
    }

    #[test]
    fn kinds_are_stable() {
        let mut new = sample();
        new.arguments.clear();
        let json = serde_json::to_value(changes(&sample(), &new)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{"kind": "argument-changed", "name": "PG_MAJOR", "from": "17", "to": null}])
        );
        new = sample();
        new.contexts.get_mut("").unwrap().pop();
        let json = serde_json::to_value(changes(&sample(), &new)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{"kind": "input-removed", "context": "", "paths": ["uv.lock"], "others": 0}])
        );
    }
}
