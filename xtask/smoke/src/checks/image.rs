//! The image itself, before it runs.

use serde_json::Value;

use crate::facts::Facts;
use container::figure::Figure;
use container::finding::{Judged, flaw, measured, seen};
use definition::labels::{FINGERPRINT_LABEL, HEALTH_LABEL, IMAGE_LABEL};
use definition::spec::secret::{is_baked_in, is_secret};

/// `Config.User` is set and not root.
pub(crate) fn user(facts: &Facts) -> Judged {
    let user = facts.image.document().pointer("/Config/User");
    let user = user.and_then(Value::as_str).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    match name {
        "" => Err(flaw("the image names no user: it runs as root")),
        "0" | "root" => Err(flaw(format!("the image's user is {user}"))),
        _ => seen(format!("user {user}")),
    }
}

/// `Config.ExposedPorts` is the spec's port.
pub(crate) fn port(facts: &Facts) -> Judged {
    let wanted = format!("{}/tcp", facts.spec.port());
    let exposed = facts.image.exposed_ports();
    if exposed == [wanted.as_str()] {
        return seen(format!("exposes {wanted}"));
    }
    let shown = if exposed.is_empty() {
        "nothing".to_owned()
    } else {
        exposed.join(", ")
    };
    Err(flaw(format!("exposes {shown}; the spec says {wanted}")))
}

/// The labels that tie the image to its spec and definition.
pub(crate) fn labels(facts: &Facts) -> Judged {
    let name = facts.image.label(IMAGE_LABEL).unwrap_or_default();
    if name != facts.spec.name.as_str() {
        return Err(flaw(format!(
            "label {IMAGE_LABEL} is {name:?}; the spec says {:?}",
            facts.spec.name.as_str()
        )));
    }
    let health = facts.image.label(HEALTH_LABEL).unwrap_or_default();
    let proved = facts.spec.proved_health().unwrap_or_default();
    if health != proved {
        return Err(flaw(format!(
            "label {HEALTH_LABEL} is {health:?}; by the spec it has to be {proved:?}"
        )));
    }
    let fingerprint = facts.image.label(FINGERPRINT_LABEL).unwrap_or_default();
    if fingerprint.len() < 32 || !fingerprint.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(flaw(format!(
            "label {FINGERPRINT_LABEL} is {fingerprint:?}, no fingerprint"
        )));
    }
    seen(format!("{name}, fingerprint {}…", &fingerprint[..12]))
}

/// `Config.Healthcheck` is a command, and not `NONE`.
pub(crate) fn health_check(facts: &Facts) -> Judged {
    let words = health_test(facts);
    match words.as_slice() {
        ["CMD" | "CMD-SHELL", command @ ..] if !command.is_empty() => seen(command.join(" ")),
        [] => Err(flaw("the image has no health check")),
        other => Err(flaw(format!("the image's health check is {}", other.join(" ")))),
    }
}

fn health_test(facts: &Facts) -> Vec<&str> {
    let test = facts.image.document().pointer("/Config/Healthcheck/Test");
    let words = test.and_then(Value::as_array).into_iter().flatten();
    words.filter_map(Value::as_str).collect()
}

/// What an engine runs of it in the container; one that is content nowhere
/// where the image has none.
pub(crate) fn health_command(facts: &Facts) -> Vec<String> {
    let words: Vec<String> = match health_test(facts).as_slice() {
        ["CMD", command @ ..] => command.iter().map(|&word| word.to_owned()).collect(),
        ["CMD-SHELL", script] => ["sh", "-c", script].map(str::to_owned).to_vec(),
        _ => Vec::new(),
    };
    if words.is_empty() {
        vec!["false".to_owned()]
    } else {
        words
    }
}

/// Bytes of all layers against the budget.
#[expect(clippy::cast_precision_loss, reason = "shown in megabytes")]
pub(crate) fn size(facts: &Facts) -> Judged {
    let bytes = facts.image.size();
    if bytes == 0 {
        return Err(flaw("the engine does not say how large the image is"));
    }
    let figure = Figure::new(bytes as f64 / 1e6, Some(facts.spec.budgets.size_mb), "MB");
    // The classic store has layers unpacked, containerd's as they are sent.
    measured(figure, "all layers, as the engine's store counts them")
}

/// Environment, labels and history hold nothing that looks like a secret.
pub(crate) fn secrets(facts: &Facts) -> Judged {
    let history = facts.history.as_ref().map_err(Clone::clone)?;
    let config = facts.image.document().get("Config");
    let env = config.and_then(|c| c.get("Env")).and_then(Value::as_array);
    let env: Vec<&str> = env.into_iter().flatten().filter_map(Value::as_str).collect();
    let labels = config.and_then(|c| c.get("Labels")).and_then(Value::as_object);
    let mut found = Vec::new();
    for entry in &env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if is_secret(name, value) {
            found.push(format!("variable {name}"));
        }
    }
    for (name, value) in labels.into_iter().flatten() {
        if is_secret(name, value.as_str().unwrap_or_default()) {
            found.push(format!("label {name}"));
        }
    }
    let environment = facts.spec.app.iter().flat_map(|app| &app.environment);
    for (name, value) in environment {
        if is_baked_in(name, value) {
            found.push(format!("app.environment.{name} of the spec"));
        }
    }
    for line in history.lines() {
        let step: Value = serde_json::from_str(line).unwrap_or_default();
        let command = step.get("CreatedBy").and_then(Value::as_str).unwrap_or(line);
        for word in command.split(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
            let (name, value) = word.split_once('=').unwrap_or(("", word));
            if is_secret(name.rsplit('-').next().unwrap_or_default(), value) {
                let shown = if name.is_empty() {
                    "a URL with a password"
                } else {
                    name
                };
                found.push(format!("history: {shown}"));
            }
        }
    }
    found.dedup();
    if found.is_empty() {
        return seen(format!(
            "looked at {} variables and {} steps",
            env.len(),
            history.lines().count()
        ));
    }
    Err(flaw(format!("what looks like a secret: {}", found.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::facts;
    use engine::Image;
    use serde_json::json;

    /// Whether each judge is content with an image of this configuration.
    fn content(judge: fn(&Facts) -> Judged, config: Value) -> bool {
        let mut facts = facts();
        let document = json!({"Id": facts.image.id(), "Size": 250_000_000, "Config": config});
        facts.image = Image::from_document(document).unwrap();
        facts.history = Ok(r#"{"CreatedBy":"RUN apt-get install postgresql"}"#.into());
        judge(&facts).is_ok()
    }

    #[test]
    fn users() {
        for (good, name) in [
            (true, "1000:1000"),
            (true, "hive"),
            (false, "0:0"),
            (false, "root"),
            (false, ""),
        ] {
            assert_eq!(content(user, json!({"User": name})), good, "{name}");
        }
        assert!(!content(user, json!({})));
    }

    #[test]
    fn ports() {
        assert!(content(port, json!({"ExposedPorts": {"48886/tcp": {}}})));
        assert!(!content(
            port,
            json!({"ExposedPorts": {"48886/tcp": {}, "5432/tcp": {}}})
        ));
        assert!(!content(port, json!({"ExposedPorts": {"38886/tcp": {}}})));
        assert!(!content(port, json!({})));
    }

    #[test]
    fn label_values() {
        let fingerprint = "0123456789abcdef0123456789abcdef";
        let both = |name: &str, fingerprint: &str| json!({"Labels": {IMAGE_LABEL: name, HEALTH_LABEL: "liveness", FINGERPRINT_LABEL: fingerprint}});
        let silent = json!({"Labels": {IMAGE_LABEL: "genie", FINGERPRINT_LABEL: fingerprint}});
        assert!(!content(labels, silent));
        assert!(content(labels, both("genie", fingerprint)));
        assert!(!content(labels, both("agent", fingerprint)));
        assert!(!content(labels, both("genie", "")));
        assert!(!content(labels, both("genie", &"ü".repeat(32))));
        assert!(!content(labels, json!({})));
    }

    #[test]
    fn health_checks() {
        let check = |words: &[&str]| json!({"Healthcheck": {"Test": words}});
        assert!(content(
            health_check,
            check(&["CMD", "/usr/local/lib/hive/healthcheck"])
        ));
        assert!(!content(health_check, check(&["NONE"])));
        assert!(!content(health_check, check(&["CMD"])));
        assert!(!content(health_check, json!({})));
    }

    #[test]
    fn sizes() {
        assert!(content(size, json!({})));
        let mut facts = facts();
        assert!(size(&facts).is_err(), "an unknown size is no small one");
        let document = json!({"Id": facts.image.id(), "Size": 400_000_000});
        facts.image = Image::from_document(document).unwrap();
        assert!(size(&facts).is_err());
    }

    #[test]
    fn secrets_are_found_in_each_place() {
        assert!(content(
            secrets,
            json!({"Env": ["HOME=/app"], "Labels": {"a": "b"}})
        ));
        assert!(!content(secrets, json!({"Env": ["API_TOKEN=x"]})));
        assert!(!content(
            secrets,
            json!({"Labels": {"url": "https://me:pw@host/"}})
        ));
        let mut facts = facts();
        facts.history = Ok(r#"{"CreatedBy":"ARG DB_PASSWORD=hunter2"}"#.into());
        let said = secrets(&facts).unwrap_err().detail;
        assert_eq!(said, "what looks like a secret: history: DB_PASSWORD");
        facts.history = Ok(r#"{"CreatedBy":"RUN curl --api-token=abc"}"#.into());
        assert!(secrets(&facts).is_err());
        facts.history = Err(flaw("not reached"));
        assert!(secrets(&facts).is_err());
    }

    #[test]
    fn secrets_are_known_by_name_and_by_url() {
        for (name, value) in [
            ("POSTGRES_PASSWORD", "agent"),
            ("HIVE_API_KEY", "x"),
            ("SMTP_PASS", "x"),
            ("FERNET_KEY", "x"),
            ("github_token", "ghp_1"),
            ("DATABASE_URL", "postgresql+psycopg://hive:pw@localhost/hive"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/pw"),
            ("POSTGRES_PASSWORD", ""),
            ("DATABASE_URL", "postgresql://hive@localhost/hive"),
            (
                "DATABASE_URL",
                "postgresql://{database_user}:{database_password}@localhost/hive",
            ),
            ("HOME", "/app"),
            // Of Python itself, in many a base; an argument of a program's.
            ("GPG_KEY", "7169605F62C751356D054A26A821E680E5FA6305"),
            ("key", "str.lower"),
            ("primary_key", "True"),
            ("SITE", "https://example.org/a:b@c"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }
}
