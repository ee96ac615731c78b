//! What the fingerprint covers and what not, with the reason of each and the
//! cases that prove it. `ARCHITECTURE.md` shows this very table.

use super::ExpectedMove::{Both, Canonical, KeyOnly, Neither, Stricter};
use super::Tracked::{ByContent, No, Yes};
use super::{Case, Fact, Tracked, cases};

/// Why modes are not what plain bake sees.
const STAGED_MODES: &str = "staged as 644 or 755";

/// Why what is ignored is not what plain bake sees.
const NOT_STAGED: &str = "plain bake gets it, the staged copy does not have it";

/// Why one engine cannot show it.
const ONE_ENGINE: &str = "an engine has one platform";

/// Why BuildKit's steps say nothing of a setting.
const NO_STEP: &str = "the image has it, and no step runs with it";

/// A case in one line.
const fn case(
    name: &'static str,
    expect: super::ExpectedMove,
    change: fn(&mut super::AuditProbe<'_>) -> anyhow::Result<super::FactChange>,
) -> Case {
    Case { name, expect, change }
}

/// The table of `ARCHITECTURE.md`, with the cases that prove each row.
pub static FACTS: [Fact; 19] = [
    Fact {
        name: "Dockerfile text, target stage",
        tracked: Yes,
        why: "they are the build",
        cases: &[
            case("an instruction is changed", Both, cases::instruction),
            case(
                "a comment is added",
                Stricter("the text counts as a whole: nobody has to parse it as BuildKit does"),
                cases::comment,
            ),
            case("another stage is the target", Both, cases::target),
        ],
    },
    Fact {
        name: "build arguments",
        tracked: Yes,
        why: "they are in the instructions' keys",
        cases: &[
            case("a value is changed", Both, cases::argument),
            case(
                "one is removed and its default counts",
                Both,
                cases::argument_removed,
            ),
            case(
                "one is changed that no step uses",
                Stricter("which step uses which is for BuildKit to know"),
                cases::argument_unused,
            ),
        ],
    },
    Fact {
        name: "`BASE`",
        tracked: ByContent,
        why: "the reference may differ between machines where the content does not",
        cases: &[
            case("another base", Both, cases::base),
            case(
                "the same base by another reference",
                Neither,
                cases::base_reference,
            ),
        ],
    },
    Fact {
        name: "settings of `BASE`: user, folder, shell, triggers, labels, ports, …",
        tracked: Yes,
        why: "`FROM` inherits them",
        cases: &[
            case("another user", Both, cases::base_user),
            case("another folder", Both, cases::base_folder),
            case("another shell", Both, cases::base_shell),
            case("a trigger (`ONBUILD`)", Both, cases::base_trigger),
            case("a label", Stricter(NO_STEP), cases::base_label),
            case("a port", Stricter(NO_STEP), cases::base_port),
            case("a volume", Stricter(NO_STEP), cases::base_volume),
            case("an entry point", Stricter(NO_STEP), cases::base_entrypoint),
            case("a command", Stricter(NO_STEP), cases::base_command),
            case("a health check", Stricter(NO_STEP), cases::base_health_check),
            case("a stop signal", Stricter(NO_STEP), cases::base_stop_signal),
        ],
    },
    Fact {
        name: "platform",
        tracked: Yes,
        why: "other packages",
        cases: &[case("another platform", KeyOnly(ONE_ENGINE), cases::platform)],
    },
    Fact {
        name: "path, kind, content of each file of each context",
        tracked: Yes,
        why: "what `COPY` and bind mounts see",
        cases: &[
            case("other content of another size", Both, cases::content),
            case(
                "other content of the same size and time",
                Both,
                cases::content_disguised,
            ),
            case("a file becomes empty", Both, cases::emptied),
            case("two files change places", Both, cases::swapped),
            case("a file is added", Both, cases::added),
            case("an empty file is added", Both, cases::added_empty),
            case("a file is removed", Both, cases::removed),
            case("a file is renamed", Both, cases::renamed),
            case("a name changes case", Both, cases::renamed_case),
            case("a name changes its Unicode form", Both, cases::renamed_form),
            case("a file moves to another directory", Both, cases::moved),
            case("a file becomes a directory", Both, cases::file_to_directory),
            case("a file becomes a link to its like", Both, cases::file_to_link),
            case("a link becomes a copy of its target", Both, cases::link_to_file),
            case("a file of a named context changes", Both, cases::named_content),
            case("a file of a named context is added", Both, cases::named_added),
        ],
    },
    Fact {
        name: "executable bit of files",
        tracked: Yes,
        why: "BuildKit keeps it",
        cases: &[
            case("it is set", Both, cases::executable_set),
            case("it is cleared", Both, cases::executable_cleared),
            case("it is cleared in a named context", Both, cases::named_executable),
        ],
    },
    Fact {
        name: "other mode bits",
        tracked: No,
        why: "staged as 644 and 755: a checkout's umask must not decide",
        cases: &[
            case(
                "the group may write a file",
                Canonical(STAGED_MODES),
                cases::group_write,
            ),
            case("a checkout with umask 077", Canonical(STAGED_MODES), cases::umask),
            case("a file is setuid", Canonical(STAGED_MODES), cases::setuid),
            case(
                "only the group may execute",
                Canonical(STAGED_MODES),
                cases::group_execute,
            ),
            case(
                "mode of a directory",
                Canonical(STAGED_MODES),
                cases::directory_mode,
            ),
            case("mode of the context's root", Neither, cases::root_mode),
        ],
    },
    Fact {
        name: "link target",
        tracked: Yes,
        why: "BuildKit keeps it; a link out of the context is an error",
        cases: &[
            case("another target of the same content", Both, cases::link_target),
            case("a target that does not exist", Both, cases::link_dangling),
        ],
    },
    Fact {
        name: "empty directories",
        tracked: Yes,
        why: "BuildKit copies them",
        cases: &[
            case("one is added", Both, cases::directory_added),
            case("one is removed", Both, cases::directory_removed),
        ],
    },
    Fact {
        name: "modification time",
        tracked: No,
        why: "differs between clones, and BuildKit does not look at it either",
        cases: &[
            case("of a file", Neither, cases::time_of_file),
            case("of a directory", Neither, cases::time_of_directory),
            case("of a link", Neither, cases::time_of_link),
        ],
    },
    Fact {
        name: "owner",
        tracked: No,
        why: "differs between clones; BuildKit makes everything root's",
        cases: &[case("everything is another user's", Neither, cases::owner)],
    },
    Fact {
        name: "inode, number of hard links",
        tracked: No,
        why: "differs between clones",
        cases: &[
            case(
                "a file is written anew with the same content",
                Neither,
                cases::inode,
            ),
            case("a hard link instead of an equal copy", Neither, cases::hard_link),
        ],
    },
    Fact {
        name: "checkout path",
        tracked: No,
        why: "differs between clones",
        cases: &[case("the context lies elsewhere", Neither, cases::path)],
    },
    Fact {
        name: "extended attributes",
        tracked: No,
        why: "git keeps none; not staged",
        cases: &[
            case("of a file", Canonical("not staged"), cases::attribute_of_file),
            case(
                "of a directory",
                Canonical("not staged"),
                cases::attribute_of_directory,
            ),
        ],
    },
    Fact {
        name: "what the ignore rules leave out",
        tracked: No,
        why: "BuildKit does not get it",
        cases: &[
            case("an ignored file changes", Neither, cases::ignored_content),
            case(
                "a pattern without effect is added",
                Canonical(NOT_STAGED),
                cases::pattern_without_effect,
            ),
            case("git's own files change", Canonical(NOT_STAGED), cases::git),
            case(
                "a secret file is added",
                Canonical(NOT_STAGED),
                cases::secret_file,
            ),
        ],
    },
    Fact {
        name: "what the ignore rules let through",
        tracked: Yes,
        why: "it is what `COPY` sees",
        cases: &[
            case(
                "a pattern that leaves out one file more",
                Both,
                cases::pattern_with_effect,
            ),
            case("an ignored file is let through", Both, cases::pattern_removed),
        ],
    },
    Fact {
        name: "values of secrets, contents of cache mounts, tags",
        tracked: No,
        why: "not in BuildKit's key either; a change of tags moves tags and builds nothing",
        cases: &[
            case("another value of a secret", Neither, cases::secret_value),
            case(
                "another build writes into the cache mount",
                Neither,
                cases::cache_mount,
            ),
            case("another tag", Neither, cases::tag),
        ],
    },
    Fact {
        name: "schema of the encoding",
        tracked: Yes,
        why: "a change of meaning is a visible decision",
        cases: &[case(
            "another schema",
            KeyOnly("BuildKit knows nothing of it"),
            cases::schema,
        )],
    },
];

/// The table as Markdown, as `ARCHITECTURE.md` has it.
pub fn markdown() -> String {
    let mut out = String::from("| fact | tracked | why |\n|---|---|---|\n");
    for fact in &FACTS {
        let tracked = match fact.tracked {
            Tracked::Yes => "yes",
            Tracked::ByContent => "by content",
            Tracked::No => "no",
        };
        out.push_str(&format!("| {} | {tracked} | {} |\n", fact.name, fact.why));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::ExpectedMove;
    use super::*;

    #[test]
    fn every_fact_is_proved() {
        for fact in &FACTS {
            assert!(!fact.cases.is_empty(), "{}", fact.name);
            for case in fact.cases {
                let moves = matches!(
                    case.expect,
                    ExpectedMove::Both | ExpectedMove::Stricter(_) | ExpectedMove::KeyOnly(_)
                );
                let fits = match fact.tracked {
                    Tracked::Yes => moves,
                    Tracked::No => !moves,
                    Tracked::ByContent => true,
                };
                assert!(fits, "{}: {}", fact.name, case.name);
            }
        }
    }
}
