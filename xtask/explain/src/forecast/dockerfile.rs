//! The text of a Dockerfile → stages and instructions, as far as a forecast
//! needs them. Pure.
//!
//! It follows BuildKit's parser: continued lines are one instruction, comments
//! and empty lines between them are not there, here-documents follow the
//! instruction that names them. What has no effect on a build (a comment, the
//! indentation of a continued `COPY`) has none on what is read here.

/// A stage: everything from `FROM` to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerfileStage {
    /// Its name in lower case; without one `stage-<number>`, as BuildKit shows it.
    pub(crate) name: String,
    /// What stands after `FROM`: an image, a stage, or a variable.
    pub(crate) base: String,
    /// Its instructions in order, without the `FROM` that opens it.
    pub(crate) instructions: Vec<Instruction>,
}

/// One instruction with its flags and here-documents, over as many lines as it
/// has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The first word, in capitals: `RUN`.
    pub(crate) keyword: String,
    /// `--name=value`, in order; an empty value for a bare `--name`.
    pub(crate) flags: Vec<(String, String)>,
    /// What follows, on one line.
    pub(crate) text: String,
    /// Its here-documents, in the order in which it names them.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// A text that follows an instruction and is named in it: `<<EOF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// The word after `<<`, which ends it, too.
    pub(crate) name: String,
    /// The lines between the instruction and the delimiter.
    pub(crate) body: String,
    /// Whether variables in it are filled in: its delimiter is not quoted.
    pub(crate) expand: bool,
}

/// A Dockerfile as its instructions, each in the stage that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// `ARG`s before the first stage.
    pub(crate) globals: Vec<Instruction>,
    /// The stages, in the order of the text.
    pub(crate) stages: Vec<DockerfileStage>,
}

/// Instructions with flags before their text.
const WITH_FLAGS: [&str; 5] = ["FROM", "RUN", "COPY", "ADD", "HEALTHCHECK"];

/// Instructions that may name here-documents.
const WITH_HEREDOCS: [&str; 3] = ["RUN", "COPY", "ADD"];

impl Instruction {
    /// The value of the first flag with this name.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let mut flags = self.flags.iter();
        flags
            .find(|(flag, _)| flag == name)
            .map(|(_, value)| value.as_str())
    }

    /// The text as words, or as the strings of a JSON array.
    pub(crate) fn words(&self) -> Vec<String> {
        if let Ok(words) = serde_json::from_str(&self.text) {
            return words;
        }
        words(&self.text)
    }
}

/// Reads a Dockerfile; `None` where it is written in a way that this reader
/// does not know, such as another escape character.
pub(crate) fn parse(text: &str) -> Option<Dockerfile> {
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    let mut file = Dockerfile {
        globals: Vec::new(),
        stages: Vec::new(),
    };
    while let Some(line) = logical_line(&mut lines)? {
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let keyword = keyword.to_uppercase();
        let (flags, text) = flags(&keyword, rest.trim());
        let mut heredocs = Vec::new();
        if WITH_HEREDOCS.contains(&keyword.as_str()) {
            for word in words(&text) {
                if let Some((name, strip, expand)) = delimiter(&word) {
                    let body = body(&mut lines, &name, strip)?;
                    heredocs.push(Heredoc { name, body, expand });
                }
            }
        }
        let instruction = Instruction {
            keyword,
            flags,
            text,
            heredocs,
        };
        if instruction.keyword == "FROM" {
            let stage = stage(&instruction, file.stages.len())?;
            file.stages.push(stage);
        } else if let Some(stage) = file.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if instruction.keyword == "ARG" {
            file.globals.push(instruction);
        } else {
            return None;
        }
    }
    Some(file)
}

fn stage(from: &Instruction, number: usize) -> Option<DockerfileStage> {
    let words = from.words();
    let (base, name) = match words.as_slice() {
        [base] => (base, format!("stage-{number}")),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => (base, name.to_lowercase()),
        _ => return None,
    };
    Some(DockerfileStage {
        name,
        base: base.clone(),
        instructions: Vec::new(),
    })
}

/// The next instruction's line with all that continue it; `Some(None)` at the
/// end, `None` for a directive that changes how the file is read.
#[expect(clippy::option_option, reason = "the end is not a failure")]
fn logical_line<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Option<Option<String>> {
    let mut whole = String::new();
    let mut continued = false;
    for line in lines.by_ref() {
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let directive: String = comment.split_whitespace().collect::<String>().to_lowercase();
            if directive.starts_with("escape=") {
                return None;
            }
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        let part = if continued { line } else { trimmed };
        let part = part.trim_end();
        match part.strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                continued = true;
            }
            None => {
                whole.push_str(part);
                return Some(Some(whole));
            }
        }
    }
    Some(continued.then_some(whole))
}

fn flags(keyword: &str, text: &str) -> (Vec<(String, String)>, String) {
    let (mut flags, mut rest) = (Vec::new(), text);
    while WITH_FLAGS.contains(&keyword) && rest.starts_with("--") {
        let end = word_end(rest);
        let (flag, after) = rest.split_at(end);
        let (name, value) = flag[2..].split_once('=').unwrap_or((&flag[2..], ""));
        flags.push((name.to_lowercase(), unquoted(value)));
        rest = after.trim_start();
    }
    (flags, rest.to_owned())
}

/// Words, with quotes and backslashes as the shell reads them; variables stay.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (word, after) = rest.split_at(word_end(rest));
        all.push(word.to_owned());
        rest = after.trim_start();
    }
    all
}

/// Where the word at the start of `text` ends.
fn word_end(text: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ if quote.is_none() && c.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

/// A word without its quotes and backslashes.
pub(crate) fn unquoted(word: &str) -> String {
    let (mut plain, mut quote, mut escaped) = (String::new(), None, false);
    for c in word.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                plain.push(c);
            }
            '\\' if quote != Some('\'') => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ => plain.push(c),
        }
    }
    plain
}

/// `<<NAME`, `<<-NAME`, `3<<"NAME"` → the name, whether tabs are stripped,
/// whether variables are filled in.
fn delimiter(word: &str) -> Option<(String, bool, bool)> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (strip, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let name = unquoted(rest);
    let good = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    good.then(|| (name.clone(), strip, name == rest))
}

/// The lines up to a here-document's end; `None` where it has none.
fn body<'t>(lines: &mut impl Iterator<Item = &'t str>, name: &str, strip: bool) -> Option<String> {
    let mut body = String::new();
    for line in lines.by_ref() {
        let line = if strip {
            line.trim_start_matches('\t')
        } else {
            line
        };
        if line == name {
            return Some(body);
        }
        body.push_str(line);
        body.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# a comment
ARG BASE=debian

FROM ${BASE} AS Deps
ARG PACKAGES="a b"
RUN --mount=type=cache,target=/c,sharing=locked \
    # in between

    --mount=type=bind,from=rootfs,target="/root fs" <<'SH' cat
echo $PACKAGES # stays
SH
COPY ["a b", "[p]x", "./"]
FROM deps
COPY --link --from=deps /a \
   /b
COPY <<EOT <<-"TWO" /etc/
  one
EOT
	two
	TWO
CMD ["x"]
"#;

    #[test]
    fn stages_instructions_flags_and_heredocs() {
        let file = parse(TEXT).unwrap();
        assert_eq!(file.globals[0].text, "BASE=debian");
        let [deps, last] = file.stages.as_slice() else {
            panic!("{file:?}");
        };
        assert_eq!((deps.name.as_str(), deps.base.as_str()), ("deps", "${BASE}"));
        assert_eq!((last.name.as_str(), last.base.as_str()), ("stage-1", "deps"));
        let run = &deps.instructions[1];
        assert_eq!(run.flags.len(), 2);
        assert_eq!(run.flags[1].1, "type=bind,from=rootfs,target=/root fs");
        assert_eq!(run.text, "<<'SH' cat");
        let heredoc = |name: &str, body: &str, expand| Heredoc {
            name: name.to_owned(),
            body: body.to_owned(),
            expand,
        };
        assert_eq!(run.heredocs, [heredoc("SH", "echo $PACKAGES # stays\n", false)]);
        assert_eq!(deps.instructions[2].words(), ["a b", "[p]x", "./"]);
        let copy = &last.instructions[0];
        assert_eq!(
            (copy.flag("from"), copy.flag("link"), copy.flag("chown")),
            (Some("deps"), Some(""), None)
        );
        assert_eq!(copy.words(), ["/a", "/b"]);
        assert_eq!(
            last.instructions[1].heredocs,
            [heredoc("EOT", "  one\n", true), heredoc("TWO", "two\n", false)]
        );
        assert_eq!(last.instructions[2].words(), ["x"]);
    }

    #[test]
    fn what_a_build_does_not_see_changes_nothing() {
        let changed = TEXT
            .replace("# a comment\n", "\n# another\n")
            .replace("    # in between\n\n", "    # elsewhere\n")
            .replace(
                "COPY --link --from=deps /a \\\n   /b",
                "copy --link   --from=deps /a /b",
            );
        let (a, b) = (parse(TEXT).unwrap(), parse(&changed).unwrap());
        let words = |file: &Dockerfile| file.stages[1].instructions[0].words();
        assert_eq!(words(&a), words(&b));
        assert_eq!(a.stages[0], b.stages[0]);
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        for text in [
            "# escape=`\nFROM a\n",
            "RUN before\nFROM a\n",
            "FROM a\nRUN <<EOT\nno end\n",
            "FROM a b\n",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("").unwrap().stages, []);
    }
}
