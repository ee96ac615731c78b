//! Logins in the URLs of an app's own files, which are part of the image.

use std::path::Path;

use crate::network::{is_token, login_of_authority, naming_hosts};

/// The schemes by which packages come; those of databases and the like are no
/// business of a build's.
const SCHEMES: [&str; 4] = ["http", "https", "ssh", "git"];

/// Each line with a login, by file and number; never the login itself.
pub(super) fn problems(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in naming_hosts(folder) {
        for (number, line) in text.lines().enumerate() {
            if !line.trim_start().starts_with('#') && has_login(line) {
                found.push(told(&format!("{}:{}", folder.join(&file).display(), number + 1)));
            }
        }
    }
    found
}

/// The sentence for the place of a line with a login.
pub(super) fn told(at: &str) -> String {
    format!(
        "{at}: has a login in a URL, and this file is part of the image: let the machine give it (README, \"Behind a \
         proxy\")"
    )
}

/// Whether a URL of a package in a line has a password, or a token for a name. What
/// only stands for one (`${TOKEN}`) is none.
pub(super) fn has_login(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let scheme = line[..at]
            .rsplit(|c: char| !is_part(c))
            .next()
            .unwrap_or_default();
        let scheme = scheme.rsplit('+').next().unwrap_or_default();
        let url = line[at..]
            .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '>'))
            .next()
            .unwrap_or_default();
        let Some(login) = login_of_authority(url).filter(|_| SCHEMES.contains(&scheme)) else {
            return false;
        };
        // Hatch and PDM fill in `{env:TOKEN}`.
        if login.starts_with('{') && login.ends_with('}') {
            return false;
        }
        let (name, password) = login.split_once(':').unwrap_or((login, ""));
        is_given(password) || is_given(name) && is_token(name)
    })
}

/// Whether it is a value, and not the place of one.
fn is_given(part: &str) -> bool {
    !part.is_empty() && !part.starts_with(['$', '{', '<', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_seen_in_every_form_and_what_is_none_is_left_alone() {
        for line in [
            "-i https://me:secret@h.example/simple",
            "x @ git+https://ghp_0123456789abcdef@github.com/o/x",
            "x @ git+https://ghp_0123456789abcdef:x-oauth-basic@github.com/o/x",
            "# see https://docs.example/ then --extra-index-url=https://me:secret@h.example/simple",
            "url = \"https://me:a/b@h.example/simple\"",
            "git+ssh://git:secret@h.example/x",
        ] {
            assert!(has_login(line), "{line}");
        }
        for line in [
            "x @ git+https://github.com/o/x@v1",
            "x @ git+ssh://git@h.example:22/o/x",
            "x @ git+https://org@dev.azure.com/org/p/_git/x",
            "--extra-index-url https://me:${TOKEN}@h.example/simple",
            "url = \"https://$USER:$PASSWORD@h.example/simple\"",
            "url = \"https://{env:TOKEN}@h.example/simple\"",
            "dsn = \"postgresql://postgres:postgres@localhost/test\"",
            "https://h.example:8080/a@b.whl, me@example.org",
        ] {
            assert!(!has_login(line), "{line}");
        }
    }

    #[test]
    fn every_file_that_names_an_index_is_looked_at_and_the_login_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("requirements")).unwrap();
        let secret = "https://ghp_0123456789abcdef:x@h.example/simple";
        for (path, text) in [
            (
                "pyproject.toml",
                format!("[[tool.uv.index]]\nurl = \"{secret}\"\n# {secret}\n"),
            ),
            ("Pipfile.lock", format!("{{\"url\": \"{secret}\"}}")),
            ("uv.toml", format!("index-url = \"{secret}\"\n")),
            ("requirements/base.txt", format!("-i {secret}\n")),
            ("README.md", secret.to_owned()),
        ] {
            fs_err::write(dir.path().join(path), text).unwrap();
        }
        let found = problems(dir.path());
        let top = format!("{}/", dir.path().display());
        let places: Vec<&str> = found
            .iter()
            .map(|one| one.strip_prefix(&top).unwrap().split(": ").next().unwrap())
            .collect();
        assert_eq!(
            places,
            [
                "pyproject.toml:2",
                "Pipfile.lock:1",
                "uv.toml:1",
                "requirements/base.txt:1"
            ]
        );
        assert!(!found.concat().contains("ghp_"), "{found:?}");
    }
}
