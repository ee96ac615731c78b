//! The container that a test takes backups of, its load, and a disk that is too small.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run};
use crate::smoke_gate::good;

/// A container of the good image that nobody started by `up`, with as few rights as
/// it needs, and a folder for its backups.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) checkout: Checkout,
    pub(crate) backups: tempfile::TempDir,
}

impl Source {
    pub(crate) fn start(name: &str) -> Self {
        let one = Self {
            name: format!("hive-test-{name}-{}", std::process::id()),
            checkout: Checkout::renamed(),
            backups: tempfile::tempdir().unwrap(),
        };
        let options = "--read-only --tmpfs /run/hive:mode=1777 --tmpfs /tmp:mode=1777 \
            --tmpfs /var/log/hive:mode=1777 --cap-drop ALL --security-opt no-new-privileges --user 12345:0";
        let mut args = vec!["run", "--detach", "--name", &one.name];
        args.extend(options.split_whitespace());
        let image = good("genie");
        args.push(&image);
        docker(&args);
        let wait = "for n in $(seq 300); do /usr/local/lib/hive/healthcheck && exit; sleep 0.2; done; exit 1";
        one.inside(wait);
        one
    }

    pub(crate) fn inside(&self, script: &str) -> String {
        docker(&["exec", &self.name, "sh", "-c", script])
            .trim()
            .to_owned()
    }

    pub(crate) fn sql(&self, statement: &str) -> String {
        docker(&[
            "exec",
            &self.name,
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ])
        .trim()
        .to_owned()
    }

    /// One statement after the other, and what the last one says.
    pub(crate) fn superuser(&self, statements: &str) -> String {
        let mut args = vec!["exec", "--env", "PGSERVICE=superuser", &self.name];
        args.extend([
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "dbname=hive_genie",
        ]);
        args.extend(["-c", "SET search_path = public, pg_catalog"]);
        args.extend(statements.split("; ").flat_map(|one| ["-c", one]));
        docker(&args).trim().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.checkout.command(args);
        command.env("HIVE_BACKUP_DIR", self.backups.path());
        command
    }

    pub(crate) fn xtask(&self, args: &[&str]) -> Run {
        sandbox::finish(&mut self.command(args))
    }

    pub(crate) fn backup(&self, more: &[&str]) -> Run {
        self.xtask(&[&["backup", "test-genie", "--container", &self.name], more].concat())
    }

    /// Level and path of each backup.
    pub(crate) fn listed(&self) -> Vec<(String, PathBuf)> {
        let list = self.xtask(&["backup", "list", "test-genie", "--json"]).expect(0);
        let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
        let all = list.json()["backups"].as_array().unwrap().clone();
        all.iter()
            .map(|one| (text(one, "level"), text(one, "file").into()))
            .collect()
    }

    /// Rows that one session writes one by one, each with some log to turn over.
    pub(crate) fn load(&self) -> Load {
        self.sql("CREATE TABLE ledger (n bigint PRIMARY KEY, filler text)");
        let script = "n=0; while :; do n=$((n + 1)); \
            echo \"INSERT INTO ledger SELECT $n, string_agg(md5(random()::text), '') FROM generate_series(1, 3000) RETURNING n;\"; \
            done | psql -XAtq";
        let mut command = sandbox::docker();
        command.args(["exec", &self.name, "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let last = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let seen = std::sync::Arc::clone(&last);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let number = line.trim().parse().unwrap_or(0);
                seen.store(number, std::sync::atomic::Ordering::SeqCst);
            }
        });
        Load { child, last }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // It may be gone, and a test that fails has said why.
        let _ended = sandbox::docker()
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

/// A session outside that knows what was committed.
pub(crate) struct Load {
    child: Child,
    last: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Load {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.last.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A disk that no backup fits on.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where nobody may mount one.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "none"];
        let mut mount = Command::new("mount");
        let done = mount.args(options).arg(folder.path()).output();
        if !done.is_ok_and(|done| done.status.success()) {
            sandbox::skipped("nobody may mount a small disk");
            return None;
        }
        Some(Self(folder))
    }

    /// That a backup there is refused, and leaves nothing.
    #[track_caller]
    pub(crate) fn is_too_small(&self, source: &Source, more: &[&str]) {
        let file = self.0.path().join("one.tar.zst");
        let to = ["--to", file.to_str().unwrap()];
        let refused = source.backup(&[&to, more].concat()).expect(3);
        refused.says(&["No space left on device", "make room there"]);
        assert_eq!(fs_err::read_dir(self.0.path()).unwrap().count(), 0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}
