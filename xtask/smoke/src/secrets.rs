//! Takes secrets out of what is kept or shown.

use container::http::percent_encoded;

/// What stands for a secret.
const SCRUBBED: &str = "[scrubbed]";

/// What stands for the rest of a text that was cut.
const CUT: char = '…';

/// So much of a secret's beginning is a part of it; less is of any word.
const TELLING: usize = 4;

/// Replaces secrets as they are, as part of a URL and as part of JSON, also where the
/// text was cut in the middle of one, and the password of any URL at all.
pub(crate) fn scrub(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    let mut secrets: Vec<&String> = secrets.iter().collect();
    // One may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        let in_url = percent_encoded(secret);
        let in_json = serde_json::Value::from(secret.as_str()).to_string();
        let in_json = in_json.trim_matches('"');
        for form in [secret.as_str(), in_url.as_str(), in_json] {
            text = scrub_cut(text.replace(form, SCRUBBED), form);
        }
    }
    scrub_urls(&text)
}

/// Replaces the beginning of `secret` where the text was cut there.
fn scrub_cut(text: String, secret: &str) -> String {
    if !text.contains(CUT) {
        return text;
    }
    let beginnings = || secret.char_indices().map(|(at, _)| &secret[..at]).skip(TELLING);
    let mut parts: Vec<String> = text.split(CUT).map(str::to_owned).collect();
    let cut = parts.len() - 1;
    for part in &mut parts[..cut] {
        if let Some(shown) = beginnings().filter(|shown| part.ends_with(shown)).last() {
            part.truncate(part.len() - shown.len());
            part.push_str(SCRUBBED);
        }
    }
    parts.join(&CUT.to_string())
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
    fn a_secret_that_was_cut_through_goes_and_so_does_one_in_another() {
        let secrets = ["ABCD-EFGH", "ABCD-EFGH-IJKL"].map(str::to_owned);
        for (text, clean) in [
            ("LICENSE=ABCD-EFGH-IJ…, and more", "LICENSE=[scrubbed]…, and more"),
            ("ABCD… or ABC…", "[scrubbed]… or ABC…"),
            ("ABCD- is no end", "ABCD- is no end"),
            ("ABCD-EFGH-IJKL, ABCD-EFGH", "[scrubbed], [scrubbed]"),
        ] {
            assert_eq!(scrub(text, &secrets), clean);
        }
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
