//! A fragment with its placeholders filled.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// A fragment as it was read.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// As users know it, such as `docker/stages/10-python-deps.Dockerfile`.
    pub shown: String,
    /// What the file holds, placeholders included.
    pub text: String,
}

impl Fragment {
    pub(super) fn own(name: &str, text: &str) -> Self {
        Self {
            shown: format!("{name}.Dockerfile"),
            text: text.to_owned(),
        }
    }
}

/// Begins lines that are there only for an image with an app.
const IF_APP: &str = "{{if app}}";
/// Begins lines that are there only for an image with a database in it.
const IF_DATABASE: &str = "{{if database}}";
/// Begins those that take their place where there is none.
const ELSE: &str = "{{else}}";
const END: &str = "{{end}}";

/// The value that only an image has whose database is elsewhere.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// A fragment with its placeholders filled and without the lines of another kind
/// of image.
pub(super) fn fill(fragment: &Fragment, values: &BTreeMap<&'static str, String>) -> Result<String> {
    let mut out = String::new();
    // Only an app is installed from anything.
    let (has_app, has_database) = (
        values.contains_key("install_options"),
        !values.contains_key(ELSEWHERE),
    );
    // Where lines of one kind of image begin, and whether they are kept.
    let mut part: Option<(usize, bool)> = None;
    for (n, line) in fragment.text.lines().enumerate() {
        part = match (line, part) {
            (IF_APP, None) => Some((n, has_app)),
            (IF_DATABASE, None) => Some((n, has_database)),
            (ELSE, Some((since, is_kept))) => Some((since, !is_kept)),
            (END, Some(_)) => None,
            (IF_APP | IF_DATABASE | ELSE | END, _) => bail!(failure::usage(format!(
                "{}:{}: {line} in a wrong place: known is {IF_APP} or {IF_DATABASE}, {ELSE}, {END}, a line each",
                fragment.shown,
                n + 1
            ))),
            (_, Some((_, false))) => continue,
            (_, part) => {
                fill_line(&mut out, fragment, n, line, values)?;
                part
            }
        };
    }
    if let Some((since, _)) = part {
        bail!(failure::usage(format!(
            "{}:{}: {} without {END}",
            fragment.shown,
            since + 1,
            fragment.text.lines().nth(since).unwrap_or_default()
        )));
    }
    Ok(out)
}

/// Writes one line with its placeholders filled.
fn fill_line(
    out: &mut String,
    fragment: &Fragment,
    n: usize,
    line: &str,
    values: &BTreeMap<&'static str, String>,
) -> Result<()> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            bail!(failure::usage(format!(
                "{}:{}: `{{{{` without `}}}}`",
                fragment.shown,
                n + 1
            )));
        };
        let Some(value) = values.get(name) else {
            let known: Vec<&str> = values.keys().copied().collect();
            bail!(
                failure::usage(format!(
                    "{}:{}: unknown placeholder {{{{{name}}}}}",
                    fragment.shown,
                    n + 1
                ))
                .hint(format!("known placeholders: {}", known.join(", ")))
            );
        };
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    // A placeholder that is empty must not leave a blank at the line's end.
    let kept = out.trim_end_matches([' ', '\t']).len();
    out.truncate(kept);
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String> {
        let values = BTreeMap::from([("port", "2000".to_owned()), ("packages", String::new())]);
        fill(
            &Fragment {
                shown: "f.Dockerfile".to_owned(),
                text: text.to_owned(),
            },
            &values,
        )
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(
            filled("EXPOSE {{port}}\nRUN x {{packages}}\n").unwrap(),
            "EXPOSE 2000\nRUN x\n"
        );
    }

    #[test]
    fn mistakes_name_fragment_and_line() {
        let error = filled("A\nB {{prot}}\n").unwrap_err();
        assert_eq!(
            failure::render(&error),
            "error: f.Dockerfile:2: unknown placeholder {{prot}}\n\nhint: known placeholders: packages, port"
        );
        assert_eq!(
            filled("{{port").unwrap_err().to_string(),
            "f.Dockerfile:1: `{{` without `}}`"
        );
    }

    #[test]
    fn lines_of_another_kind_of_image_are_left_out() {
        let text = "A\n{{if app}}\nB\n{{else}}\nC {{port}}\n{{end}}\nD\n";
        assert_eq!(filled(text).unwrap(), "A\nC 2000\nD\n");
        let text = "{{if database}}\nA\n{{else}}\nB\n{{end}}\n";
        assert_eq!(filled(text).unwrap(), "A\n");
        let elsewhere = BTreeMap::from([(ELSEWHERE, "postgres".to_owned())]);
        let fragment = Fragment::own("f", text);
        assert_eq!(fill(&fragment, &elsewhere).unwrap(), "B\n");
        for (text, said) in [
            ("A\n{{if app}}\n", "f.Dockerfile:2: {{if app}} without {{end}}"),
            (
                "{{else}}\n",
                "f.Dockerfile:1: {{else}} in a wrong place: known is {{if app}} or {{if database}}, {{else}}, {{end}}, a line each",
            ),
        ] {
            assert_eq!(filled(text).unwrap_err().to_string(), said);
        }
    }
}
