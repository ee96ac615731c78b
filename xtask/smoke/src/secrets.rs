//! Takes secrets out of what is kept or shown.

use container::http::percent_encoded;

/// What stands for a secret.
const SCRUBBED: &str = "[scrubbed]";

/// Replaces secrets as they are, as part of a URL and as part of JSON, and the
/// password of any URL at all.
pub(crate) fn scrub(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let in_url = percent_encoded(secret);
        let in_json = serde_json::Value::from(secret.as_str()).to_string();
        let in_json = in_json.trim_matches('"');
        for form in [secret.as_str(), in_url.as_str(), in_json] {
            text = text.replace(form, SCRUBBED);
        }
    }
    scrub_urls(&text)
}

/// `scheme://user:password@host` keeps everything but the password.
fn scrub_urls(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        clean.push_str(head);
        rest = tail;
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'<>".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let Some((login, _)) = authority.rsplit_once('@') else {
            continue;
        };
        if let Some((user, _)) = login.split_once(':') {
            clean.push_str(user);
            clean.push(':');
            clean.push_str(SCRUBBED);
            rest = &rest[login.len()..];
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_in_each_form_and_the_rest_stays() {
        let secrets = vec!["p\"w/1".to_owned()];
        let text = r#"raw p"w/1, json p\"w/1, url p%22w%2F1, other pw"#;
        assert_eq!(
            scrub(text, &secrets),
            "raw [scrubbed], json [scrubbed], url [scrubbed], other pw"
        );
    }

    #[test]
    fn passwords_of_urls_go_even_when_nobody_knows_them() {
        assert_eq!(
            scrub(
                "at postgresql://hive:s3:cr@et@127.0.0.1/db?x=a@b and http://h:80/p",
                &[]
            ),
            "at postgresql://hive:[scrubbed]@127.0.0.1/db?x=a@b and http://h:80/p"
        );
        assert_eq!(scrub("a://", &[]), "a://");
    }
}
