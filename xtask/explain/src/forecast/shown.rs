//! How a step is called: by BuildKit in its cache, by us on a line. Pure.

use super::dockerfile::{Heredoc, Instruction};
use definition::step::StepPlace;

/// How many characters of an instruction a line for people has.
const SHOWN: usize = 60;

/// How BuildKit describes a step's record in its cache: a `RUN` by what it
/// runs, all else by the step's name.
pub(crate) fn described(instruction: &Instruction, place: &StepPlace, shell: &str) -> String {
    if instruction.keyword != "RUN" {
        let width = place.of.to_string().len();
        return format!(
            "[{} {:>width$}/{}] {} {}",
            place.stage,
            place.step,
            place.of,
            instruction.keyword,
            source_text(instruction)
        );
    }
    if let Ok(words) = serde_json::from_str::<Vec<String>>(&instruction.text) {
        return format!("mount / from exec {}", words.join(" "));
    }
    let shell: Vec<String> = serde_json::from_str(shell).unwrap_or_default();
    let shell = if shell.is_empty() {
        "/bin/sh -c".to_owned()
    } else {
        shell.join(" ")
    };
    let script = match instruction.heredocs.as_slice() {
        [only] if instruction.words().len() == 1 => only.body.clone(),
        all => {
            let bodies = all
                .iter()
                .map(|heredoc| format!("\n{}{}", heredoc.body, heredoc.name));
            format!("{}{}", instruction.text, bodies.collect::<String>())
        }
    };
    format!("mount / from exec {shell} {script}")
        .trim_end()
        .to_owned()
}

/// Flags and text, as BuildKit shows them: without quotes around the name of a
/// here-document.
fn source_text(instruction: &Instruction) -> String {
    let mut text = String::new();
    for (name, value) in &instruction.flags {
        let equals = if value.is_empty() { "" } else { "=" };
        text.push_str(&format!("--{name}{equals}{value} "));
    }
    text.push_str(&instruction.text);
    for Heredoc { name, .. } in &instruction.heredocs {
        for quoted in [format!("<<'{name}'"), format!("<<\"{name}\"")] {
            text = text.replace(&quoted, &format!("<<{name}"));
        }
    }
    text
}

/// A line of a script that says what the script is for: no setting, no
/// condition, no definition.
fn does_something(line: &&str) -> bool {
    let first = line.split_whitespace().next().unwrap_or("#");
    let preparing = ["set", "export", "umask", "if", "then", "else", "fi", ")", "}"];
    let is_definition = first.contains('=') || first.ends_with("()");
    // What a here-document is given to makes a file, or works out what the rest does.
    !preparing.contains(&first) && !first.starts_with('#') && !is_definition && !line.contains("<<")
}

/// The lines of a script that are carried out where they stand: those of a function's body
/// and of a here-document are not.
fn outside_functions(script: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    let mut document: Option<&str> = None;
    script.lines().filter(move |line| {
        if let Some(end) = document {
            document = document.filter(|_| line.trim() != end);
            return false;
        }
        document = line.split_once("<<").map(|(_, rest)| {
            let rest = rest.trim_start_matches(['-', '\'', '"', '\\']);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        });
        let was_inside = is_inside;
        match line.trim_end() {
            "}" => is_inside = false,
            line if line.ends_with("() {") && !line.starts_with([' ', '\t']) => is_inside = true,
            _ => {}
        }
        !was_inside
    })
}

/// An instruction on one line, for people: of a script the line that says most.
pub(crate) fn shown(instruction: &Instruction) -> String {
    let script = instruction
        .heredocs
        .first()
        .filter(|_| instruction.keyword == "RUN");
    let text = match script.and_then(|script| outside_functions(&script.body).find(does_something)) {
        Some(line) => line.to_owned(),
        None => {
            let mut shorter = instruction.clone();
            shorter.flags.retain(|(name, _)| name != "mount");
            source_text(&shorter)
        }
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = format!("{} {}", instruction.keyword, words.join(" "));
    if line.chars().count() <= SHOWN {
        return line;
    }
    let start: String = line.chars().take(SHOWN).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_function_does_not_say_what_a_script_is_for() {
        let script = "set -eu\noptions=$(\n    python3 - <<'PY'\nimport sys\nPY\n)\ncat > /opt/x <<X\nrm y\nX\ninstall() {\n    uv \"$@\" || exit\n}\napt() { apt-get \"$@\"; }\nif a; then\n    uv lock\nfi\n";
        let found = outside_functions(script).find(does_something);
        assert_eq!(found, Some("    uv lock"));
    }
}
