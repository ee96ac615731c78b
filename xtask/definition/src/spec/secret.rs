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
const SECRET_ENDS: [&str; 3] = ["SECRET_KEY", "ACCESS_KEY", "SIGNING_KEY"];

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
}
