//! What the documents say of other people's programs: restic, rclone, systemd, cron.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::build_images::docker;
use crate::documents::all_blocks;
use crate::packages;
use crate::sandbox::{self, Checkout, repository};

/// For what has to end well.
const STRICT: [&str; 2] = ["-euo", "pipefail"];

/// The service of the image that all tests have.
const NAME: &str = "test-genie";

/// A home with the checkout and with what `cargo` runs in it.
struct Home {
    folder: tempfile::TempDir,
    checkout: Checkout,
}

impl Home {
    fn new() -> Self {
        let one = Self {
            folder: tempfile::tempdir().unwrap(),
            checkout: Checkout::renamed(),
        };
        symlink(one.checkout.path(""), one.folder.path().join("hive")).unwrap();
        let cargo = one.folder.path().join(".cargo/bin/cargo");
        fs_err::create_dir_all(cargo.parent().unwrap()).unwrap();
        // The tool's engine lies in the home of whoever runs the tests.
        let own = sandbox::text("HOME").unwrap_or_default();
        let tool = env!("CARGO_BIN_EXE_xtask");
        let script = format!("#!/bin/sh\nshift\nHOME='{own}' exec '{tool}' --root . \"$@\"\n");
        fs_err::write(&cargo, script).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(&cargo, mode).unwrap();
        one
    }

    /// What a document says, for the service of the tests and with a folder in the place of
    /// `/srv`. `options` are those of bash, which ends at no error by itself.
    fn shell(&self, options: &[&str], script: &str, programs: &[&str]) -> sandbox::Run {
        let srv = self.folder.path().join("srv");
        fs_err::create_dir_all(&srv).unwrap();
        let script = script.replace("genie", NAME);
        let script = script.replace("/srv/", &format!("{}/", srv.display()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path);
        let ours = programs.iter().map(|program| packages::folder(program));
        let cargo = [self.folder.path().join(".cargo/bin")];
        let path = std::env::join_paths(cargo.into_iter().chain(ours).chain(path));
        let mut shell = Command::new("bash");
        shell
            .args(options)
            .args(["-c", &script])
            .current_dir(self.checkout.path(""))
            .env("HOME", self.folder.path())
            .env("PATH", path.unwrap())
            .env("HIVE_BACKUP_DIR", self.folder.path().join("backups"))
            .env_remove("DOCKER_HOST");
        sandbox::finish(&mut shell)
    }

    /// What lies elsewhere: files of rclone, snapshots of restic.
    fn elsewhere(&self) -> [usize; 2] {
        ["elsewhere/test-genie", "restic/snapshots"].map(|folder| {
            let folder = self.folder.path().join("srv").join(folder);
            fs_err::read_dir(folder).unwrap().count()
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A test that fails has said why.
        let down = ["down", NAME, "--volumes", NAME, "--volumes", NAME];
        let _ended = self.checkout.command(&down).output();
    }
}

/// The block of docker/README.md with this text in it.
fn block(text: &str) -> String {
    let mut all = all_blocks().into_iter().map(|block| block.text);
    all.find(|block| block.contains(text)).unwrap()
}

/// restic, rclone and what cron runs, on a service that is up.
#[test]
#[ignore = "needs an engine"]
fn backups_go_elsewhere_and_by_themselves() {
    let _alone = sandbox::service_of("genie");
    let home = Home::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    home.checkout.xtask(&["up", NAME, "--port", &port]).expect(0);
    let programs = ["restic", "rclone"];
    if programs
        .iter()
        .all(|program| packages::programs(program).is_some())
    {
        let script = block("RESTIC_PASSWORD_FILE") + &block("RCLONE_CONFIG");
        let run = home.shell(&STRICT, &script, &programs).expect(0);
        run.says(&["    whole ", "restored "]);
        assert_eq!(home.elsewhere(), [2, 1]);
        let password = Path::new("srv/restic.password");
        let mode = fs_err::metadata(home.folder.path().join(password)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        // Pasted once more, where no backup is to be had.
        let before = fs_err::read(home.folder.path().join(password)).unwrap();
        docker(&["stop", NAME]);
        home.shell(&[], &script, &programs).says(&["is exited"]);
        docker(&["start", NAME]);
        assert_eq!(home.elsewhere(), [2, 1]);
        let now = fs_err::read(home.folder.path().join(password)).unwrap();
        assert!(before == now, "the password is another one");
    }
    home.checkout.xtask(&["up", NAME, "--port", &port]).expect(0);
    let line = block("15 3 * * * ");
    let command = line.strip_prefix("15 3 * * * ").unwrap();
    let run = home.shell(&STRICT, command, &[]).expect(0);
    run.says(&["restored ", " deleted, "]);
}

/// Both units, by systemd's own eyes.
#[test]
fn the_timer_is_one_that_systemd_takes() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return sandbox::skipped("no systemd-analyze to look at a timer with");
    }
    let home = tempfile::tempdir().unwrap();
    fs_err::create_dir(home.path().join("hive")).unwrap();
    for kind in ["service", "timer"] {
        let unit = repository().join(format!("docker/timer/hive-backup@.{kind}"));
        // As a user has it who has enabled it for an image.
        fs_err::copy(unit, home.path().join(format!("hive-backup@genie.{kind}"))).unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(args).current_dir(home.path());
        command
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path());
        command.env("TZ", "UTC");
        sandbox::finish(&mut command).expect(0)
    };
    let units = ["./hive-backup@genie.timer", "./hive-backup@genie.service"];
    let said = run(&[&["--user", "--man=no", "verify"], &units[..]].concat());
    assert_eq!(said.stderr, "", "{}", said.stderr);
    let timer = fs_err::read_to_string(home.path().join("hive-backup@genie.timer")).unwrap();
    let when = timer.lines().find_map(|line| line.strip_prefix("OnCalendar="));
    let said = run(&["calendar", "--base-time=2026-11-21 12:00:00", when.unwrap()]);
    assert!(
        said.stdout.contains("Next elapse: Sun 2026-11-22 03:15:00"),
        "{}",
        said.stdout
    );
}
