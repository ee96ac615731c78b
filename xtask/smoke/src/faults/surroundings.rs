//! Odd surroundings that have to work: passwords, users, clocks, ports.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fixture::Fixture;
use container::boot::{Instance, MOUNT};
use container::finding::{Observation, flaw, late, seen};
use container::http::Client;
use host::process::quote;

/// Each character that has a meaning in SQL, URLs, shells, password files or
/// Python's formats, and one that is not ASCII.
const ODD: &str = r#" a'b"c@d/e:f%g\h$i{j}k;l#m?n&o é `p` "#;
/// A password given as a file with Windows' line end.
const PLAIN: &str = "second-password";
/// The time that `docker stop` gives a container.
const GRACE: Duration = Duration::from_secs(20);
/// A boot on a busy machine.
const BOOT: Duration = Duration::from_secs(60);
/// Long enough for a signal to end somebody.
const SIGNALS: Duration = Duration::from_millis(500);
/// Between two requests to the published port.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// An odd password by a file works for the app, for psql and in the URL; the
/// next start takes another one; none of them is printed.
pub(crate) fn odd_password(fixture: &Fixture<'_>) -> Result<Observation> {
    let (volume, files) = (fixture.volume()?, fixture.volume()?);
    let mount = format!("--volume={}:/run/given:ro", files.name());
    let options = [
        mount.as_str(),
        "--env=HIVE_DATABASE_PASSWORD_FILE=/run/given/password",
    ];
    let mut logs = String::new();
    for (password, end) in [(ODD, "\n"), (PLAIN, "\r\n")] {
        fixture.secret(password);
        let written = quote(&format!("{password}{end}"));
        fixture.must_beside(
            &files,
            &["--user=0:0"],
            &format!("cd {MOUNT}; chmod 755 .; umask 022; printf %s {written} >password"),
        )?;
        let instance = fixture.boot(&volume, &options)?;
        let who = fixture.sql(&instance, "SELECT current_user")?;
        if who.trim() != fixture.spec().database.role {
            bail!(flaw(format!("psql is {who}")));
        }
        // What the app makes of it: the variables, and both forms of the URL.
        let by_url = format!(
            "run-app python - <<'PY'\n\
             import os, urllib.parse\n\
             given = {}\n\
             for name in ('DATABASE_URL', 'HIVE_DATABASE_URL'):\n\
             \x20   url = urllib.parse.urlsplit(os.environ[name])\n\
             \x20   assert urllib.parse.unquote(url.password) == given, name\n\
             PY\n\
             url=$(run-app sh -c 'echo \"$DATABASE_URL\"'); PGPASSFILE=/dev/null psql -XAtqc 'SELECT 1' \"$url\"",
            serde_json::to_string(password)?
        );
        if fixture.spec().app.is_some() {
            let answer = fixture.must(&instance, &by_url)?;
            if answer.trim() != "1" {
                bail!(flaw(format!("SELECT 1 by the app's URL gave {answer:?}")));
            }
        }
        logs.push_str(&fixture.log(&instance)?);
        instance.container.stop(GRACE)?;
        // The next one has to be told the next password, too.
        fixture.end_database(&volume);
    }
    for password in [ODD.trim(), PLAIN] {
        if logs.contains(password) {
            bail!(flaw("a given password is in the container's log"));
        }
    }
    Ok(seen(
        "a password with every odd character, then another one: psql, the app's URL and its \
         health work with both, and the log has neither",
    )?)
}

/// A user of no name, no capability, and a root that nobody can write to.
pub(super) const WITHOUT_RIGHTS: [&str; 7] = [
    "--user=12345:0",
    "--read-only",
    "--tmpfs=/run/hive",
    "--tmpfs=/tmp",
    "--tmpfs=/var/log/hive",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
];

/// An arbitrary uid with a root that cannot be written to and without any
/// capability, twice on one volume.
pub(crate) fn arbitrary_user(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let first = fixture.boot(&volume, &WITHOUT_RIGHTS)?;
    fixture.sql(&first, "CREATE TABLE smoke_uid AS SELECT 42 AS n")?;
    let uid = fixture.must(&first, "id -u; whoami")?;
    if !uid.starts_with("12345") {
        bail!(flaw(format!("the container runs as {uid}")));
    }
    first.container.stop(GRACE)?;
    let again = fixture.boot(&volume, &WITHOUT_RIGHTS)?;
    let rows = fixture.sql(&again, "SELECT n FROM smoke_uid")?;
    if rows.trim() != "42" {
        bail!(flaw(format!("the row that was written is {rows:?}")));
    }
    again.container.stop(GRACE)?;
    if !fixture.has_database() {
        return Ok(seen(
            "uid 12345, read-only root, no capabilities: healthy twice, on the same rows",
        )?);
    }
    // The same volume for the image's own user is a volume of another owner.
    let mount = format!("--volume={}:{MOUNT}", volume.name());
    let refusal = fixture.refused(&[&mount])?;
    if refusal.code != 78 || !refusal.log.contains("belongs to 12345:0") {
        bail!(flaw(format!(
            "started as another user: exit code {}, said {}",
            refusal.code, refusal.log
        )));
    }
    Ok(seen(
        "uid 12345, read-only root, no capabilities: healthy twice on one volume; the image's own \
         user is refused on it",
    )?)
}

/// Time zones of the container move no instant, and files from the future stop
/// nothing.
pub(crate) fn clock_and_zone(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let far_east = ["--env=TZ=Pacific/Kiritimati", "--env=PGTZ=Pacific/Kiritimati"];
    let first = fixture.boot(&volume, &far_east)?;
    fixture.sql(
        &first,
        "CREATE TABLE smoke_time AS SELECT timestamptz '2026-11-21 00:30+14' AS at, \
         extract(epoch FROM timestamptz '2026-11-21 00:30+14') AS seconds",
    )?;
    is_utc(fixture, &first)?;
    first.container.stop(GRACE)?;
    if fixture.has_database() {
        // As after a battery that died and a clock that was then set right.
        fixture.must_beside(
            &volume,
            &["--user=0:0"],
            &format!("find {MOUNT} -exec touch -h -d '2040-01-01T00:00:00Z' {{}} +"),
        )?;
    }
    let far_west = ["--env=TZ=Pacific/Niue"];
    let again = fixture.boot(&volume, &far_west)?;
    is_utc(fixture, &again)?;
    let same = fixture.sql(
        &again,
        "SELECT extract(epoch FROM at) = seconds, to_char(at AT TIME ZONE 'UTC', 'DD HH24:MI') FROM smoke_time",
    )?;
    if same.trim() != "t|20 10:30" {
        bail!(flaw(format!(
            "00:30 on the 21st at +14 is {same:?} after a move to -11"
        )));
    }
    let nowhere = ["--env=TZ=No/Where", "--env=LANG=xx_YY", "--env=LC_ALL=xx_YY"];
    again.container.stop(GRACE)?;
    fixture.boot(&volume, &nowhere)?;
    Ok(seen(
        "from +14 to -11 hours with files of the year 2040, and with a zone and a locale that do \
         not exist: healthy each time, the same instant, the server's log in UTC",
    )?)
}

/// The server logs in UTC, wherever the container thinks it is.
fn is_utc(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    if !fixture.has_database() {
        return Ok(());
    }
    let log = fixture.log(instance)?;
    let ready = log.lines().find(|line| line.contains("database system is ready"));
    if ready.is_none_or(|line| !line.contains(" UTC ")) {
        bail!(flaw(format!("the server's log is not in UTC: {ready:?}")));
    }
    Ok(())
}

/// Another port for the app, and variables that point psql and libpq
/// elsewhere.
pub(crate) fn moved_port(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let port = 40_001;
    let instance = fixture.start(
        &volume,
        &[
            "--env=HIVE_API_PORT=40001",
            "--publish=127.0.0.1::40001",
            "--env=PGHOST=db.example.org",
            "--env=PGHOSTADDR=192.0.2.1",
            "--env=PGPORT=1",
            "--env=PGUSER=somebody",
            "--env=PGDATABASE=elsewhere",
            "--env=PGPASSWORD=of-another-server",
            "--env=PGSSLMODE=verify-full",
            "--env=PGTARGETSESSIONATTRS=standby",
            "--env=PGSSLCERTMODE=require",
            "--env=PGMINPROTOCOLVERSION=none",
        ],
    )?;
    let published = Client::new(instance.container.published_port(port)?, false);
    let (app, began) = (fixture.app()?, Instant::now());
    loop {
        let said = published.get(app.asked_path(), REQUEST);
        if said.as_ref().is_ok_and(|reply| reply.status == 200) {
            break;
        }
        let limit = fixture.patience(BOOT);
        if began.elapsed() > limit {
            let said = said.map_or_else(|error| error, |reply| reply.shown());
            let detail = format!("health on the other port says {said}");
            bail!(late(began.elapsed(), limit, detail));
        }
        fixture.resources().runner.sleep(PAUSE)?;
    }
    let check = ["/usr/local/lib/hive/healthcheck"];
    let checked = instance.container.exec(BOOT, &[], &check, None)?;
    if !checked.success() {
        bail!(flaw(format!(
            "the image's own check: {}",
            checked.stdout_text().trim()
        )));
    }
    let told = fixture.must(&instance, "run-app sh -c 'echo $HIVE_API_PORT $PGHOST:$PGPORT'")?;
    let host = fixture.spec().database.elsewhere.as_ref();
    let host = host.map_or("127.0.0.1", |image| image.as_str());
    if told.trim() != format!("40001 {host}:5432") {
        bail!(flaw(format!("the app is told {told:?}")));
    }
    Ok(seen(
        "the app listens on HIVE_API_PORT and is healthy there; libpq's variables for another \
         server do not reach it",
    )?)
}

/// No name for loopback, an init before the image's own PID 1, signals that are
/// meant for nobody, and a run directory that somebody tidied.
pub(crate) fn bare(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let options = ["--init", "--volume=/dev/null:/etc/hosts:ro"];
    let instance = fixture.boot(&volume, &options)?;
    let hosts = fixture.must(&instance, "cat /etc/hosts; echo end")?;
    if hosts.trim() != "end" {
        bail!(flaw(format!("the engine filled /etc/hosts: {hosts:?}")));
    }
    for signal in ["HUP", "USR1", "ALRM", "PWR"] {
        instance.container.kill(signal)?;
    }
    fixture.resources().runner.sleep(SIGNALS)?;
    fixture.until_health(&instance, true, BOOT)?;
    fixture.must(&instance, "rm -rf /run/hive/*")?;
    let said = fixture.shell(&instance, "/usr/local/lib/hive/healthcheck")?;
    if said.ok() || !said.text.contains("restart the container") {
        bail!(flaw(format!(
            "with an emptied run directory health says {}",
            said.shown()
        )));
    }
    instance.container.stop(GRACE)?;
    let again = fixture.start_again(&instance)?;
    fixture.until_ready(&again)?;
    Ok(seen(
        "an empty /etc/hosts and an init: healthy, and stray signals end nothing; an emptied /run/hive is \
         told, with what helps",
    )?)
}

/// The port lies among those that connections get. One that had it would keep
/// the app from listening for a minute: once in some thousand starts, so this
/// takes it on purpose.
pub(crate) fn reserved_port(fixture: &Fixture<'_>) -> Result<Observation> {
    let script = format!(
        "exec python3 -I - <<'PY'\n\
         import errno, socket\n\
         def outcome(what):\n\
         \x20   with socket.socket() as client:\n\
         \x20       try:\n\
         \x20           what(client, ('127.0.0.1', {port}))\n\
         \x20           return 'fine'\n\
         \x20       except OSError as error:\n\
         \x20           return errno.errorcode[error.errno]\n\
         bound = outcome(socket.socket.bind)\n\
         print(bound, outcome(socket.socket.connect))\n\
         PY",
        port = fixture.app()?.port
    );
    let volume = fixture.volume()?;
    // The app is about to be imported, and stays so.
    let instance = fixture.start_until(&volume, "[ -e /run/hive/database-ready ]")?;
    match fixture.must(&instance, &script)?.trim() {
        "EADDRINUSE ECONNREFUSED" => Ok(seen("nobody listened, and nobody else got the port")?),
        told => bail!(flaw(format!(
            "to bind and to connect to the app's port before it listens: {told}"
        ))),
    }
}
