//! The failure bundle: everything one needs to find the cause without running
//! again, on disk, with no secret in it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::bench::Bench;
use super::clock;
use super::report;
use super::suite::Moment;
use super::verdict::Verdict;

/// What stands for a secret.
const SCRUBBED: &str = "[scrubbed]";

/// Where the container's programs write their logs.
const LOGS: &str = "/var/log/hive";

/// A folder for one failure, named by image and time.
pub fn folder(state_dir: &Path, image: &str) -> PathBuf {
    let time = clock::stamp(SystemTime::now());
    state_dir.join("smoke").join(format!("{image}-{time}"))
}

/// Fills `folder`. What cannot be got is named in `missing.txt`: a bundle must
/// not fail because the container did.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, bench: &Bench<'_>, verdict: &Verdict) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    let mut missing = Vec::new();
    let facts = &bench.facts;
    let put = |name: &str, text: &str| -> Result<()> {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Ok(fs_err::write(path, scrub(text, &facts.secrets))?)
    };
    put("timeline.txt", &bench.timeline.join("\n"))?;
    put(
        "verdict.json",
        &format!("{:#}", report::json(std::slice::from_ref(verdict))),
    )?;
    put("verdict.txt", &report::table(verdict))?;
    put("image-inspect.json", &format!("{:#}", facts.image.document()))?;
    if let Ok(history) = &facts.history {
        put("image-history.jsonl", history)?;
    }
    for ((when, name), answer) in &facts.answers {
        let text = match answer {
            Ok(answer) => format!(
                "exit code {}, {} ms\n{}",
                answer.code,
                answer.took.as_millis(),
                answer.text
            ),
            Err(why) => why.detail.clone(),
        };
        put(&format!("answers/{}-{name}.txt", when.as_str()), &text)?;
    }
    if let Ok(status) = facts.answer(Moment::Settled, "programs-running") {
        put("supervisorctl-status.txt", &status.text)?;
    }
    match bench.control_data() {
        Ok(Ok(text)) => put("pg_controldata.txt", &text)?,
        Ok(Err(why)) => missing.push(why.detail),
        Err(error) => missing.push(format!("pg_controldata: {error:#}")),
    }
    for (n, guest) in bench.guests().iter().enumerate() {
        let own = format!("container-{}", n + 1);
        match guest.container.logs() {
            Ok(log) => put(&format!("{own}/docker-logs.txt"), &log)?,
            Err(error) => missing.push(format!("{own}: docker logs: {error:#}")),
        }
        match guest.container.inspect() {
            Ok(document) => {
                put(&format!("{own}/inspect.json"), &format!("{document:#}"))?;
                let health = document.pointer("/State/Health");
                put(
                    &format!("{own}/health.json"),
                    &health.map_or_else(String::new, |health| format!("{health:#}")),
                )?;
            }
            Err(error) => missing.push(format!("{own}: docker inspect: {error:#}")),
        }
        let logs = folder.join(&own).join("log");
        match guest.container.copy_out(LOGS, &logs) {
            Ok(()) => scrub_files(&logs, &facts.secrets)?,
            Err(error) => missing.push(format!("{own}: {LOGS}: {error:#}")),
        }
    }
    if !missing.is_empty() {
        put("missing.txt", &missing.join("\n"))?;
    }
    Ok(())
}

/// Replaces secrets as they are, as part of a URL and as part of JSON, and the
/// password of any URL at all.
pub fn scrub(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let in_url: String = secret.bytes().map(percent).collect();
        let in_json = serde_json::Value::from(secret.as_str()).to_string();
        let in_json = in_json.trim_matches('"');
        for form in [secret.as_str(), in_url.as_str(), in_json] {
            text = text.replace(form, SCRUBBED);
        }
    }
    scrub_urls(&text)
}

fn percent(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
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

fn scrub_files(folder: &Path, secrets: &[String]) -> Result<()> {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        // A link made in the container could point anywhere on this host.
        if entry.file_type().is_symlink() {
            fs_err::remove_file(entry.path())?;
        } else if entry.file_type().is_file() {
            let bytes = fs_err::read(entry.path())?;
            fs_err::write(entry.path(), scrub(&String::from_utf8_lossy(&bytes), secrets))?;
        }
    }
    Ok(())
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

    #[test]
    fn files_are_scrubbed_and_links_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("app.log"), b"\xffpw=s3cret\n").unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        scrub_files(folder.path(), &["s3cret".to_owned()]).unwrap();
        let text = fs_err::read_to_string(folder.path().join("app.log")).unwrap();
        assert_eq!(text, "\u{fffd}pw=[scrubbed]\n");
        assert!(!folder.path().join("link").exists());
    }
}
