//! The app's folders on the volume, and files that nobody may have changed.

use crate::facts::{Facts, LeftFiles};
use container::ask::Answer;
use container::finding::{Judged, Reached, flaw, seen};
use container::http::one_line;

/// As many folders are told of.
const MOST_FOLDERS: usize = 3;

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

/// What was written since the start, and lies in no volume.
pub(crate) const LEFT: &str = concat!("/usr/bin/python3 -I - <<'PY'\n", include_str!("left.py"), "PY");

/// What an answer to [`LEFT`] names, outermost folders first.
pub(crate) fn left(answer: &Answer) -> Reached<Vec<LeftFiles>> {
    // Python's last line says what it was.
    let last = answer.text.lines().last().unwrap_or_default();
    if !answer.ok() {
        return Err(flaw(format!("exit code {}: {}", answer.code, one_line(last))));
    }
    let lines = answer.text.lines().map(serde_json::from_str);
    let found: Result<_, _> = lines.collect();
    found.map_err(|error| flaw(format!("{error} in {}", one_line(&answer.text))))
}

/// Files of the app's that go with the container, and the key that keeps them.
pub(crate) fn warning(facts: &Facts) -> Option<String> {
    let left = match &facts.left {
        Ok(left) => left,
        Err(why) => {
            return Some(format!(
                "nobody knows whether the app writes outside of its volume: the look ended with {}",
                why.detail
            ));
        }
    };
    let first = left.first()?;
    let told: Vec<String> = left
        .iter()
        .take(MOST_FOLDERS)
        .map(|left| format!("{}/{}", left.folder.trim_end_matches('/'), left.names.join(", ")))
        .collect();
    let more = match left.len().saturating_sub(MOST_FOLDERS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let keepable = left.iter().filter(|left| left.may_be_kept);
    let folders = facts
        .spec
        .directories_with(keepable.map(|left| left.folder.as_str()));
    let is_kept = folders.contains(&first.folder.as_str());
    let folders: Vec<&str> = folders
        .iter()
        .map(|folder| folder.strip_prefix("/app/").unwrap_or(folder))
        .collect();
    let cure = if facts.spec.database.elsewhere.is_some() {
        "if it is data, keep it in the database or in a storage of its own: this image has no volume"
            .to_owned()
    } else if is_kept {
        format!("`\"directories\": {folders:?}` of `app` keeps the folder, if it is data")
    } else {
        "if it is data, have it written into a folder of its own, and name that in `app.directories`"
            .to_owned()
    };
    Some(format!(
        "the app wrote {}{more}, outside of its volume: that goes with the container; {cure}",
        told.join("; ")
    ))
}

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
    use definition::spec::names::ImageName;

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
    #[expect(
        clippy::disallowed_methods,
        reason = "the container's own Python stands for itself"
    )]
    fn what_was_written_outside_of_the_volume_is_found() {
        let top = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = top.path().join(path);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        };
        // Longer than the kernel's clock for files takes for a step.
        let later = || std::thread::sleep(Duration::from_millis(50));
        write("app/main.py", "shipped");
        write("app/data/seed.csv", "shipped");
        write("app/src/code.py", "shipped");
        later();
        write("run/hive/image.sh", "started");
        // With `vfs` all of these are of one device.
        write(
            "proc/self/mountinfo",
            "1 0 0:1 / / rw - xfs /dev/sda1 rw\n2 1 0:1 /a /mnt/a\\040b rw - xfs /dev/sda1 rw\n\
             3 1 0:1 /s.db /app/given.db rw - xfs /dev/sda1 rw\n",
        );
        later();
        for path in [
            "app/app.db",
            "app/app.db-wal",
            "app/data/app.db",
            "app/src/app.db",
            "app/src/__pycache__/code.cpython-313.pyc",
            "app/worker.log",
            "app/given.db",
            "app/gone.tmp",
            "app/unpacked/old.png",
            "home/hive/notes.txt",
            "home/hive/.cache/model",
            "mnt/a b/file",
            "tmp/passing",
            "var/lib/postgresql/data/pgdata/PG_VERSION",
            "var/lib/shop/index",
            "run/hive/pgpass",
        ] {
            write(path, "written");
        }
        write("app/empty.db", "");
        // As `shutil.copy2` and `unzip` do.
        let unpacked = std::fs::File::options()
            .append(true)
            .open(top.path().join("app/unpacked/old.png"));
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(86_400);
        unpacked.unwrap().set_modified(long_ago).unwrap();
        // A file that goes while it is looked at.
        let vanishes = "import os\nlstat = os.lstat\ndef vanish(path):\n    \
             if path.endswith('gone.tmp'):\n        os.unlink(path)\n    return lstat(path)\n\
             os.lstat = vanish\n";
        let python = std::process::Command::new("python3")
            .args(["-I", "-", &top.path().display().to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut python = python.unwrap();
        let script = LEFT.split_once('\n').unwrap().1.strip_suffix("PY").unwrap();
        let script = format!("{vanishes}{script}");
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(!top.path().join("app/gone.tmp").exists());
        let answer = Answer {
            code: output.status.code().unwrap(),
            text: String::from_utf8(output.stdout).unwrap(),
            took: Duration::ZERO,
        };
        let found: Vec<(String, String, bool)> = left(&answer)
            .unwrap()
            .into_iter()
            .map(|left| (left.folder, left.names.join(" "), left.may_be_kept))
            .collect();
        let expected = [
            ("/app", "app.db", false),
            ("/app/data", "app.db", true),
            ("/app/src", "app.db", false),
            ("/app/unpacked", "old.png", true),
            ("/home/hive", "notes.txt", false),
            ("/var/lib/shop", "index", true),
        ];
        let expected = expected.map(|(folder, names, kept)| (folder.to_owned(), names.to_owned(), kept));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_goes_with_the_container_is_told_with_the_key_that_keeps_it() {
        let mut facts = crate::tests::facts();
        assert_eq!(warning(&facts), None);
        let left = |folder: &str, may_be_kept| LeftFiles {
            folder: folder.to_owned(),
            names: vec!["app.db".to_owned(), "b.bin".to_owned()],
            may_be_kept,
        };
        facts.spec.app.as_mut().unwrap().directories = vec!["/app/media".to_owned()];
        facts.left = Ok(vec![left("/app/data", true)]);
        assert_eq!(
            warning(&facts).unwrap(),
            "the app wrote /app/data/app.db, b.bin, outside of its volume: that goes with the container; \
             `\"directories\": [\"media\", \"data\"]` of `app` keeps the folder, if it is data"
        );
        facts.left = Ok(vec![left("/app", false)]);
        let said = warning(&facts).unwrap();
        assert!(
            said.starts_with("the app wrote /app/app.db, b.bin, outside "),
            "{said}"
        );
        assert!(
            said.ends_with("into a folder of its own, and name that in `app.directories`"),
            "{said}"
        );
        facts.left = Ok(["/app/a", "/app/b", "/app/c", "/app/d"]
            .map(|folder| left(folder, true))
            .to_vec());
        assert!(
            warning(&facts)
                .unwrap()
                .contains("/app/c/app.db, b.bin and 1 more, outside")
        );
    }

    #[test]
    fn no_key_is_advised_that_a_spec_refuses() {
        let mut facts = crate::tests::facts();
        let mut said = |folders: &[&str]| {
            let left = folders.iter().map(|folder| LeftFiles {
                folder: (*folder).to_owned(),
                names: vec!["x".to_owned()],
                may_be_kept: true,
            });
            facts.left = Ok(left.collect());
            let said = warning(&facts).unwrap();
            said.rsplit_once("; ").unwrap().1.to_owned()
        };
        let keeps = |folders: &str| {
            format!("`\"directories\": [{folders}]` of `app` keeps the folder, if it is data")
        };
        let elsewhere =
            "if it is data, have it written into a folder of its own, and name that in `app.directories`";
        assert_eq!(said(&["/app/data", "/app/data/uploads"]), keeps("\"data\""));
        assert_eq!(
            said(&["/app/data", "/app/my files", "/var/lib/python/x"]),
            keeps("\"data\"")
        );
        assert_eq!(said(&["/var/lib/python/x"]), elsewhere);
        assert_eq!(said(&["/app/my files", "/app/data"]), elsewhere);
        facts.spec.app.as_mut().unwrap().directories = vec!["/app/data/uploads".to_owned()];
        facts.left = Ok(vec![LeftFiles {
            folder: "/app/data".to_owned(),
            names: vec!["x".to_owned()],
            may_be_kept: true,
        }]);
        assert!(warning(&facts).unwrap().ends_with(elsewhere));
        facts.spec.database.elsewhere = Some(ImageName::parse("postgres").unwrap());
        assert!(warning(&facts).unwrap().ends_with("this image has no volume"));
    }

    #[test]
    fn a_look_that_failed_is_told() {
        let mut facts = crate::tests::facts();
        let answer = |code: i32, text: &str| Answer {
            code,
            text: text.to_owned(),
            took: Duration::ZERO,
        };
        let error = "Traceback (most recent call last):\n  File \"<stdin>\"\nOSError: too many levels";
        facts.left = left(&answer(1, error));
        assert_eq!(
            warning(&facts).unwrap(),
            "nobody knows whether the app writes outside of its volume: the look ended with exit code 1: OSError: too \
             many levels"
        );
        assert!(left(&answer(0, "no JSON")).is_err());
        assert_eq!(left(&answer(0, "")).unwrap(), []);
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
