//! What looks like a secret where everybody can read it.

/// Names of variables and build arguments that hold a secret.
const SECRET_WORDS: [&str; 8] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
];

/// What a secret's name ends with, where it stands beside many other names of a
/// spec: `MAX_TOKENS` and `PASSWORD_HASHER` are none.
const SECRET_ENDS: [&str; 4] = ["SECRET_KEY", "ACCESS_KEY", "SIGNING_KEY", "REQUIREPASS"];

/// Where the value of a `{secret:NAME}` comes from.
pub(crate) const GIVEN: &str = "(made at the first start, or given by a file)";

/// What is said of one in the variables of build steps.
pub(crate) const IN_BUILD_ENVIRONMENT: &str = "looks like a secret, and everybody who has the Dockerfile could read it: \
     logins are the machine's to give (README, \"Behind a proxy\"), and a step of `build.steps` has the variables of \
     `app.environment`, those with `{secret:NAME}` too";

/// A secret by its name, unless the value is empty or says where the secret
/// lies; or a URL with a password in it.
pub fn is_secret(name: &str, value: &str) -> bool {
    if has_url_password(value) {
        return true;
    }
    let name = name.to_uppercase();
    let is_reference = name.ends_with("_FILE") || value.starts_with(['/', '$', '{']);
    !value.is_empty() && !is_reference && SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn has_url_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(login, _)| {
            login
                .split_once(':')
                .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(['$', '{', '*']))
        })
    })
}

/// Whether a value of a spec's own variables is a secret that would be part of
/// the image. Numbers and switches are settings, whatever they are called.
pub fn is_baked_in(name: &str, value: &str) -> bool {
    if has_url_password(value) {
        return true;
    }
    let is_setting = value.parse::<f64>().is_ok()
        || ["true", "false", "yes", "no", "none", "null"].contains(&value.to_lowercase().as_str());
    let name = name.to_uppercase();
    let ends = SECRET_WORDS.iter().chain(&SECRET_ENDS);
    let is_named = ends.clone().any(|word| name.ends_with(word));
    is_named && !is_setting && !value.is_empty() && !value.starts_with(['/', '$', '{'])
}

/// What is said of a secret among a command's words, which would be part of the
/// image.
pub fn in_command(words: &[String]) -> Option<String> {
    let found = named_in(words)?;
    Some(format!(
        "what looks like a secret ({found}), and everybody who has the image could read it"
    ))
}

/// It, named without its value: a URL with a password, `--token …`, `NAME=…`. A word
/// may be a script.
fn named_in(words: &[String]) -> Option<String> {
    if words.iter().any(|word| has_url_password(word)) {
        return Some("a URL with a password".to_owned());
    }
    let apart = |c: char| c.is_whitespace() || ";|&?()`".contains(c);
    let parts = words.iter().flat_map(|word| word.split(apart)).map(unquoted);
    // An option whose value is the next word.
    let mut option: Option<&str> = None;
    for part in parts.filter(|part| !part.is_empty()) {
        if let Some(name) = option.take().filter(|_| !part.starts_with('-'))
            && is_baked_in(&variable_name(name), part)
        {
            return Some(format!("{name} …"));
        }
        match part.split_once('=') {
            Some((name, value)) if is_baked_in(&variable_name(name), unquoted(value)) => {
                return Some(format!("{name}=…"));
            }
            Some(_) => {}
            None if part.starts_with("--") => option = Some(part),
            None => {}
        }
    }
    None
}

/// A word of a script without the quotes around it.
fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `--api-key` as a variable is called.
fn variable_name(option: &str) -> String {
    option.trim_start_matches('-').replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_spec_is_told_from_a_setting() {
        for (name, value) in [
            ("OPENAI_API_KEY", "sk-live-1"),
            ("DJANGO_SECRET_KEY", "changethis"),
            ("ADMIN_PASSWORD", "admin"),
            ("OTHER_DB", "postgresql://me:hunter2@db/x"),
        ] {
            assert!(is_baked_in(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("SECRET_KEY", "{secret:SECRET_KEY}"),
            ("PGPASSWORD", "{database_password}"),
            ("MAX_TOKENS", "many"),
            ("ACCESS_TOKEN_EXPIRE_MINUTES", "30"),
            ("REFRESH_TOKEN", "60"),
            ("PASSWORD_HASHER", "argon2"),
            ("JWT_SECRET", ""),
            ("API_KEY_FILE", "run/secrets/x"),
            ("DATABASE_URL", "{database_url}"),
        ] {
            assert!(!is_baked_in(name, value), "{name}={value}");
        }
    }
    #[test]
    fn a_secret_among_the_words_of_a_command_is_found() {
        let found =
            |words: &[&str]| named_in(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        for (words, what) in [
            (
                &["redis-server", "--requirepass", "hunter2"][..],
                "--requirepass …",
            ),
            (
                &["worker", "--broker", "redis://:hunter2@redis/0"],
                "a URL with a password",
            ),
            (&["worker", "--api-key=sk-1"], "--api-key=…"),
            (&["env", "SECRET_KEY=abc", "serve"], "SECRET_KEY=…"),
            (
                &["sh", "-c", "export PGPASSWORD='hunter2'; exec serve"],
                "PGPASSWORD=…",
            ),
            (&["sh", "-c", "curl https://h.example/?token=abc"], "token=…"),
            (&["sh", "-c", "mysql --password hunter2 < x.sql"], "--password …"),
        ] {
            assert_eq!(found(words).as_deref(), Some(what), "{words:?}");
        }
        for words in [
            &["redis-server", "--requirepass", "{secret:REDIS}"][..],
            &["worker", "--broker", "redis://:{secret:REDIS}@redis/0"],
            &[
                "worker",
                "--api-key-file",
                "key.txt",
                "--max-tokens=5",
                "--token",
                "--verbose",
            ],
            &[
                "sh",
                "-c",
                "PGPASSWORD=\"$OTHER\" TOKEN=$(cat /run/secrets/x) exec serve",
            ],
            &[
                "python",
                "manage.py",
                "createsuperuser",
                "--no-input",
                "--password-stdin",
            ],
            &["serve", "--reset-password", "{secret:X}", "--access-token", "60"],
        ] {
            assert_eq!(found(words), None, "{words:?}");
        }
    }
}
