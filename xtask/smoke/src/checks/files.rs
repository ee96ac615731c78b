//! The app's folders on the volume, and files that nobody may have changed.

use crate::facts::Facts;
use container::ask::Answer;
use container::finding::{Judged, flaw, seen};

/// Leaves a file in each folder that the image says it keeps.
pub(crate) const WRITE: &str = r#"/usr/bin/python3 -I - <<'PY'
import json
with open("/etc/hive/image.json") as file:
    app = json.load(file)["app"]
for path in app.get("directories", []):
    with open(f"{path}/.hive-smoke", "w") as file:
        file.write("kept")
PY"#;

/// What each folder has of it.
pub(crate) const READ: &str = r#"/usr/bin/python3 -I - <<'PY'
import json
with open("/etc/hive/image.json") as file:
    app = json.load(file)["app"]
for path in app.get("directories", []):
    try:
        with open(f"{path}/.hive-smoke") as file:
            print(path, file.read())
    except OSError as error:
        print(path, error.strerror)
PY"#;

/// Programs that become another user, and what of ours others than root may write.
pub(crate) const PRIVILEGED: &str = "\
    find / -xdev -type f -perm /6000 2>/dev/null\n\
    find /usr/local/lib/hive /etc/hive ! -type l '(' ! -uid 0 -o -perm /022 ')'";

/// [`PRIVILEGED`] found nothing.
pub(crate) fn none_is_privileged(_: &Facts, answer: &Answer) -> Judged {
    match (answer.ok(), answer.text.as_str()) {
        (true, "") => seen("no setuid or setgid file; our programs and settings are root's"),
        (true, found) => Err(flaw(format!(
            "setuid, setgid, or not root's alone to write: {}",
            found.lines().collect::<Vec<_>>().join(", ")
        ))),
        (false, _) => Err(flaw(answer.shown())),
    }
}

/// The file of the container before is in each of the spec's folders.
pub(crate) fn survive(facts: &Facts, answer: &Answer) -> Judged {
    if !answer.ok() {
        return Err(flaw(answer.shown()));
    }
    of_spec(&facts.app()?.directories, &answer.text)
}

/// Holds an answer to [`READ`] against the spec.
pub(crate) fn of_spec(directories: &[String], text: &str) -> Judged {
    if directories.is_empty() {
        return seen("the spec has no directories of the app's");
    }
    let said: Vec<&str> = text.lines().collect();
    let is_lost = |path: &&String| !said.contains(&format!("{path} kept").as_str());
    let lost: Vec<&str> = directories.iter().filter(is_lost).map(String::as_str).collect();
    if lost.is_empty() {
        return seen(format!("a file in {} is there", directories.join(", ")));
    }
    Err(flaw(format!(
        "a file that was written into {} is lost, or could not be written (the container says {text:?})",
        lost.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_leads_to_root_is_named() {
        let judged = |code: i32, text: &str| {
            let took = Duration::ZERO;
            let text = text.to_owned();
            none_is_privileged(&crate::tests::facts(), &Answer { code, text, took })
        };
        assert!(judged(0, "").is_ok());
        let said = judged(0, "/opt/venv/bin/x\n/usr/local/lib/hive/healthcheck").unwrap_err();
        assert!(
            said.detail
                .ends_with(": /opt/venv/bin/x, /usr/local/lib/hive/healthcheck"),
            "{}",
            said.detail
        );
        assert!(judged(1, "find: '/etc/hive': No such file or directory").is_err());
    }

    #[test]
    fn each_folder_of_the_spec_has_its_file() {
        let own = ["/app/media".to_owned(), "/var/lib/shop".to_owned()];
        let said = |text: &str| of_spec(&own, text).map(|seen| seen.detail);
        assert_eq!(
            said("/app/media kept\n/var/lib/shop kept").unwrap(),
            "a file in /app/media, /var/lib/shop is there"
        );
        let lost = said("/app/media kept\n/var/lib/shop No such file or directory").unwrap_err();
        assert!(
            lost.detail.contains("into /var/lib/shop is lost"),
            "{}",
            lost.detail
        );
        // An image that knows of none is not one that keeps them.
        assert!(said("").unwrap_err().detail.contains("/app/media, /var/lib/shop"));
        assert!(of_spec(&[], "").is_ok());
    }
}
