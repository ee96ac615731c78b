//! What a container refuses: one clear line, the exit status of a wrong
//! configuration, and a volume that stays as it is, to the byte.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::fixture::{DIGEST, Fixture, Refusal};
use container::boot::MOUNT;
use container::finding::{Flaw, Observation, flaw, seen};

/// `EX_CONFIG` of sysexits.h: trying again does not help.
const EXIT_CONFIG: i64 = 78;

/// Of `docker stop`; a clean stop takes a second.
const GRACE: Duration = Duration::from_secs(20);

/// Something wrong, and what has to be said of it.
struct Wrong {
    /// What is wrong, for people.
    what: &'static str,
    /// Makes it wrong: a script of `sh`, as root, in the volume's folder.
    harm: &'static str,
    /// Of `docker run`; `{volume}` is the volume's name, `{mount}` its place.
    /// Empty: only the volume, where it belongs.
    options: &'static [&'static str],
    /// Part of the one line that the container prints.
    says: &'static str,
}

impl Wrong {
    /// Whether a container without an app has nothing to refuse.
    fn is_of_an_app(&self) -> bool {
        self.harm.contains("hive/app") || self.options.iter().any(|option| option.contains("HIVE_API_PORT"))
    }

    /// Whether a container without a database has nothing to refuse.
    fn is_of_a_database(&self) -> bool {
        self.options.iter().any(|option| option.contains("PGDATA"))
    }
}

const fn volume(what: &'static str, harm: &'static str, says: &'static str) -> Wrong {
    let options = &[];
    Wrong {
        what,
        harm,
        options,
        says,
    }
}

const fn setting(what: &'static str, options: &'static [&'static str], says: &'static str) -> Wrong {
    let harm = "";
    Wrong {
        what,
        harm,
        options,
        says,
    }
}

/// Volumes with a good cluster that this container may not use all the same.
const OF_SOMEBODY_ELSE: &[Wrong] = &[
    volume("of another owner", "chown -R 4321:4321 .", "belongs to 4321:4321"),
    volume(
        "with one file of another owner",
        "chown 0:0 pgdata/base/1/pg_filenode.map",
        "pg_filenode.map belongs to 0:0",
    ),
    volume(
        "with passwords of another owner",
        "chown -R 0:0 hive",
        "hive belongs to 0:0",
    ),
    volume(
        "of another major version",
        "echo 12 >pgdata/PG_VERSION",
        "of PostgreSQL 12, this image has",
    ),
    volume(
        "of another image",
        r#"sed -i 's/"image": "/&not-/' pgdata/hive.json"#,
        "the volume belongs to image 'not-",
    ),
    volume(
        "of another app",
        "echo another-app >hive/app",
        "the volume has the data of the app 'another-app'",
    ),
    volume(
        "of no image of this kind",
        "rm pgdata/hive.json",
        "was not made by an image of this kind",
    ),
    volume(
        "with other files where the cluster was",
        "rm -r pgdata/*; touch pgdata/photo.jpg; chown 1000:1000 pgdata/photo.jpg",
        "holds no PostgreSQL cluster",
    ),
    volume(
        "whose cluster is gone",
        "rm -r pgdata",
        "the volume had a cluster and",
    ),
    volume(
        "whose cluster is a link to nothing",
        "rm -r pgdata; ln -s nowhere pgdata",
        "pgdata is a link that leads nowhere",
    ),
    volume(
        "with a folder for a lock",
        "rm hive/lock; mkdir hive/lock",
        "hive/lock is no file",
    ),
    volume(
        "with foreign files only",
        "rm -r pgdata hive; mkdir lost+found; touch photo.jpg",
        "not empty and not ours (it holds photo.jpg)",
    ),
    Wrong {
        what: "mounted read-only",
        harm: "",
        options: &["--volume={volume}:{mount}:ro"],
        says: "is read-only",
    },
    Wrong {
        what: "mounted one level too high",
        // The engine makes the place for its own nameless volume.
        harm: "mkdir data",
        options: &["--volume={volume}:/var/lib/postgresql"],
        says: "a volume is mounted at /var/lib/postgresql, and the data would not be on it",
    },
    Wrong {
        what: "mounted elsewhere",
        harm: "",
        options: &["--volume={volume}:/data"],
        says: "the volume with this image's data is mounted at /data",
    },
];

/// Each of [`OF_SOMEBODY_ELSE`] is refused, and the reason said.
pub(crate) fn of_somebody_else(fixture: &Fixture<'_>) -> Result<Observation> {
    refuse_all(fixture, OF_SOMEBODY_ELSE, true)
}

/// Clusters that a copy brought only in part, or with damage.
const COPIED_IN_PART: &[Wrong] = &[
    volume("without pg_control", "rm pgdata/global/pg_control", NOT_WHOLE),
    volume(
        "with a damaged pg_control",
        "printf x | dd of=pgdata/global/pg_control bs=1 seek=40 conv=notrunc status=none",
        "not whole: global/pg_control is damaged",
    ),
    volume("without WAL", "rm pgdata/pg_wal/0*", "not whole: pg_wal/0000"),
    volume(
        "with half of its WAL",
        "for f in pgdata/pg_wal/0*; do truncate -s 1M $f; done",
        "not whole: pg_wal/0000",
    ),
    volume(
        "without pg_xact's files",
        "rm pgdata/pg_xact/*",
        "not whole: pg_xact/0000",
    ),
    volume("without pg_xact", "rm -r pgdata/pg_xact", "not whole: pg_xact"),
    volume(
        "without multixacts",
        "rm pgdata/pg_multixact/offsets/0000",
        "not whole: pg_multixact/offsets/0000",
    ),
    volume(
        "without its empty folders",
        "find pgdata -type d -empty -delete",
        NOT_WHOLE,
    ),
    volume("without a database", "rm -r pgdata/base/5", "not whole: base/5/"),
    volume(
        "without a vital catalog",
        // pg_class is a mapped catalog: 1259 until somebody rewrites it.
        "rm pgdata/base/5/1259",
        "not whole: base/5/1259 missing",
    ),
    volume(
        "with an empty PG_VERSION",
        ": >pgdata/PG_VERSION",
        "not whole: PG_VERSION is damaged",
    ),
    volume(
        "with half of hive.json",
        "truncate -s 9 pgdata/hive.json",
        "not whole: hive.json is damaged",
    ),
    volume(
        "with brackets without end for hive.json",
        "head -c 200000 /dev/zero | tr '\\0' '[' >pgdata/hive.json",
        "not whole: hive.json is damaged",
    ),
];

const NOT_WHOLE: &str = "is not whole: ";

/// Each of [`COPIED_IN_PART`] is refused, and the reason said.
pub(crate) fn copied_in_part(fixture: &Fixture<'_>) -> Result<Observation> {
    refuse_all(fixture, COPIED_IN_PART, true)
}

/// Settings that cannot work; the volume is new and has to stay empty.
const SETTINGS: &[Wrong] = &[
    setting(
        "an API port that is none",
        &["--env=HIVE_API_PORT=http"],
        "HIVE_API_PORT is 'http'",
    ),
    setting(
        "PostgreSQL's port for the API",
        &["--env=HIVE_API_PORT=5432"],
        "HIVE_API_PORT is '5432'",
    ),
    setting(
        "a limit of 64 open files",
        &["--ulimit=nofile=64:64"],
        "may have only 64 files open",
    ),
    setting(
        "a limit of 10 processes",
        &["--pids-limit=10"],
        "may have only 10 processes",
    ),
    setting(
        "no room for sockets",
        &[
            "--read-only",
            "--tmpfs=/tmp",
            "--tmpfs=/run/hive:size=4k,mode=1777",
        ],
        "cannot write to /run/hive: No space left on device",
    ),
    setting(
        "a port that only root may use",
        &[
            "--env=HIVE_API_PORT=80",
            "--cap-drop=ALL",
            "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
        ],
        "port 80 may not be used",
    ),
    setting(
        "PGDATA from a habit",
        &["--env=PGDATA=/var/lib/postgresql/data"],
        "PGDATA is '/var/lib/postgresql/data'",
    ),
    setting(
        "a password in the environment",
        &["--env=HIVE_DATABASE_PASSWORD=open"],
        "a password in the environment is seen",
    ),
    setting(
        "a password file that is missing",
        &["--env=HIVE_DATABASE_PASSWORD_FILE=/run/none"],
        "cannot read the password file /run/none: No such file",
    ),
    setting("root", &["--user=0:0"], " does not run as root"),
    setting("a system's uid", &["--user=123:123"], "uid 123 has no name"),
    setting(
        "a read-only root without a place for sockets",
        &["--read-only"],
        "cannot write to /run/hive",
    ),
    setting(
        "a read-only root without a place for temporary files",
        &["--read-only", "--tmpfs=/run/hive"],
        "cannot write to /tmp",
    ),
];

/// Each of [`SETTINGS`] is refused, and the reason said.
pub(crate) fn settings(fixture: &Fixture<'_>) -> Result<Observation> {
    refuse_all(fixture, SETTINGS, false)
}

/// Password files that are wrong: name, how it is made in its folder, and what
/// has to be said.
const PASSWORD_FILES: &[(&str, &str, &str)] = &[
    ("empty", ": >empty", "must hold one line that is not empty"),
    ("blank", "echo >blank", "must hold one line that is not empty"),
    (
        "two-lines",
        r"printf 'a\nb\n' >two-lines",
        "must hold one line that is not empty",
    ),
    ("binary", r"printf '\377\376x' >binary", "is not UTF-8 text"),
    (
        "unreadable",
        "echo x >unreadable; chmod 400 unreadable",
        ": Permission denied",
    ),
    ("folder", "mkdir folder", ": Is a directory"),
    (
        "hash",
        "echo md5a3556571e93b0d20722ba62be61e8c2d >hash",
        "holds a hash",
    ),
];

/// Refuses each of them, on a new volume that has to stay empty.
pub(crate) fn password_files(fixture: &Fixture<'_>) -> Result<Observation> {
    let (volume, files) = (fixture.volume()?, fixture.volume()?);
    let root = ["--user", "0:0"];
    let make: Vec<&str> = PASSWORD_FILES.iter().map(|(_, make, _)| *make).collect();
    fixture.must_beside(
        &files,
        &root,
        &format!("cd {MOUNT}; chmod 755 .; umask 022; {}", make.join("; ")),
    )?;
    let before = fixture.digest(&volume)?;
    let mut wrong = Vec::new();
    for (name, _, says) in PASSWORD_FILES {
        let mounts = [
            format!("--volume={}:{MOUNT}", volume.name()),
            format!("--volume={}:/run/given:ro", files.name()),
            format!("--env=HIVE_DATABASE_PASSWORD_FILE=/run/given/{name}"),
        ];
        let options: Vec<&str> = mounts.iter().map(String::as_str).collect();
        let refusal = fixture.refused(&options).map_err(|error| of_case(name, error))?;
        wrong.extend(misfit(&refusal, says).map(|why| format!("{name}: {why}")));
    }
    if fixture.digest(&volume)? != before {
        wrong.push("the volume is not empty any more".to_owned());
    }
    verdict(&wrong, PASSWORD_FILES.len())
}

/// Runs a container on each case's volume: a copy of one good volume with the
/// harm done to it (`of_a_good_one`), or a new one.
fn refuse_all(fixture: &Fixture<'_>, cases: &[Wrong], of_a_good_one: bool) -> Result<Observation> {
    let victim = fixture.volume()?;
    let golden = fixture.volume()?;
    if of_a_good_one {
        let instance = fixture.boot(&golden, &[])?;
        instance.container.stop(GRACE)?;
    }
    let from = format!("--volume={}:/golden:ro", golden.name());
    let root = ["--user=0:0", from.as_str()];
    let mut wrong = Vec::new();
    let mut before: Option<(&str, String)> = None;
    let has_app = fixture.spec().app.is_some();
    let has_database = fixture.has_database();
    let cases: Vec<&Wrong> = cases
        .iter()
        .filter(|case| has_app || !case.is_of_an_app())
        .filter(|case| has_database || !case.is_of_a_database())
        .collect();
    for case in &cases {
        // One container for the look after the last case and for the next harm.
        let harm = case.harm;
        let renewed = if of_a_good_one {
            "find . -mindepth 1 -delete; cp -a /golden/. ."
        } else {
            ""
        };
        let script = format!("set -e; cd {MOUNT}; {DIGEST}\n{renewed}\n{harm}\n{DIGEST}");
        let digests = fixture.must_beside(&victim, &root, &script)?;
        let Some((now, next)) = digests.trim().split_once('\n') else {
            bail!("two digests are {digests:?}");
        };
        wrong.extend(changed(before.as_ref(), now));
        before = Some((case.what, next.to_owned()));
        fixture.note(format!("a volume {}", case.what));
        let place = format!("--volume={}:{MOUNT}", victim.name());
        let mut options: Vec<String> = case
            .options
            .iter()
            .map(|option| {
                option
                    .replace("{volume}", victim.name())
                    .replace("{mount}", MOUNT)
            })
            .collect();
        if !options.iter().any(|option| option.contains(victim.name())) {
            options.push(place);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let refusal = fixture
            .refused(&options)
            .map_err(|error| of_case(case.what, error))?;
        wrong.extend(misfit(&refusal, case.says).map(|why| format!("{}: {why}", case.what)));
    }
    wrong.extend(changed(before.as_ref(), fixture.digest(&victim)?.trim()));
    verdict(&wrong, cases.len())
}

/// Whether a case's volume has another digest now.
fn changed(before: Option<&(&str, String)>, now: &str) -> Option<String> {
    let (what, digest) = before?;
    (digest != now).then(|| format!("{what}: the volume was changed"))
}

/// A container that is up holds the volume: the next cases cannot be tried.
fn of_case(what: &str, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Flaw>() {
        Ok(found) => flaw(format!("{what}: {}", found.detail)).into(),
        Err(error) => error,
    }
}

/// How a refusal differs from what it has to be: one line that says `says`, and
/// the exit code.
fn misfit(refusal: &Refusal, says: &str) -> Option<String> {
    let lines: Vec<&str> = refusal.log.lines().filter(|line| !line.is_empty()).collect();
    let good = refusal.code == EXIT_CONFIG
        && lines.len() == 1
        && lines[0].starts_with("hive: cannot start: ")
        && lines[0].contains(says);
    (!good).then(|| {
        let log = container::http::one_line(&refusal.log);
        format!("exit code {}, not one line with {says:?}: {log}", refusal.code)
    })
}

fn verdict(wrong: &[String], of: usize) -> Result<Observation> {
    if !wrong.is_empty() {
        bail!(flaw(format!("{} of {of}: {}", wrong.len(), wrong.join("; "))));
    }
    Ok(seen(format!(
        "{of} refused, each in one line and with exit code {EXIT_CONFIG}; the volume stayed as it was"
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn refusal(code: i64, log: &str) -> Refusal {
        Refusal {
            code,
            log: log.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_refusal_is_one_line_with_the_cause_and_the_code() {
        let line = "hive: cannot start: the volume is full; hint: make room on it\n";
        assert_eq!(misfit(&refusal(78, line), "is full"), None);
        for (code, log, says) in [
            (1, line, "is full"),
            (78, line, "read-only"),
            (78, "", ""),
            (78, "Traceback\nhive: cannot start: the volume is full", "is full"),
        ] {
            assert!(misfit(&refusal(code, log), says).is_some(), "{code} {log}");
        }
    }

    #[test]
    fn each_wrong_case_is_told() {
        let wrong = ["one: x".to_owned(), "two: y".to_owned()];
        let error = verdict(&wrong, 5).unwrap_err();
        assert_eq!(error.to_string(), "2 of 5: one: x; two: y");
        assert!(verdict(&[], 5).is_ok());
    }
}
