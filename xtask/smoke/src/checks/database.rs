//! PostgreSQL and pgvector as the app uses them: over TCP, as the app's role.

use crate::facts::Facts;
use container::ask::Answer;
use container::figure::{Figure, median, percentile};
use container::finding::{Flaw, Judged, Observation, flaw, measured, seen};

/// `pg_isready`: green while the server starts up and for roles that do not
/// exist, which is why it is only the first of several.
pub(crate) const ISREADY: &str = "pg_isready";

/// `pg_isready` ends with 0: the server takes connections.
pub(crate) fn is_ready(_: &Facts, answer: &Answer) -> Judged {
    if answer.ok() {
        seen(answer.shown())
    } else {
        Err(flaw(format!("pg_isready: {}", answer.shown())))
    }
}

/// Who is logged in, where, and whether as a superuser.
pub(crate) const LOGIN: &str = "\
    psql -XAtq -F ' ' -c \"SELECT current_database(), current_user, \
    current_setting('is_superuser'), host(inet_client_addr()), current_setting('server_version')\"";

/// The spec's role in the spec's database, no superuser.
pub(crate) fn login(facts: &Facts, answer: &Answer) -> Judged {
    if !answer.ok() {
        return Err(flaw(format!("login as the app's role: {}", answer.shown())));
    }
    let database = &facts.spec.database;
    let expected = format!("{} {} ", database.name, database.role);
    let Some(rest) = answer.text.strip_prefix(&expected) else {
        return Err(flaw(format!(
            "logged in to {}, not to {expected}",
            answer.shown()
        )));
    };
    let mut words = rest.split(' ');
    let (superuser, address) = (words.next(), words.next().unwrap_or_default());
    if superuser != Some("off") {
        return Err(flaw(format!("role {} is a superuser", database.role)));
    }
    let version = words.next().unwrap_or_default();
    let of_image = match (&database.elsewhere, &facts.database) {
        (Some(name), Some(id)) => format!(" of image {name} ({})", id.short()),
        _ => String::new(),
    };
    if database.elsewhere.is_some() && address.starts_with("127.") {
        return Err(flaw(format!(
            "the login came from {address}: a server runs beside the app"
        )));
    }
    seen(format!(
        "{} in {} over TCP from {address}, no superuser, PostgreSQL {version}{of_image}",
        database.role, database.name
    ))
}

/// Two logins that must fail: a wrong password, and none.
pub(crate) const WRONG_PASSWORD: &str = "\
    PGPASSFILE=/dev/null PGPASSWORD=wrong psql -XAtwq -c 'SELECT 1'; echo \"wrong $?\"\n\
    PGPASSFILE=/dev/null psql -XAtwq -c 'SELECT 1'; echo \"none $?\"\n\
    true";

/// Both refused, and for the password's sake.
pub(crate) fn wrong_password(_: &Facts, answer: &Answer) -> Judged {
    let said = |word: &str| answer.text.lines().any(|line| line == word);
    if said("wrong 0") {
        return Err(flaw("a login with a wrong password was accepted"));
    }
    if said("none 0") {
        return Err(flaw("a login without a password was accepted"));
    }
    let refused = answer.text.contains("password authentication failed");
    let asked = answer.text.contains("no password supplied");
    if refused && asked && said("wrong 2") && said("none 2") {
        return seen("password authentication failed, as it has to");
    }
    Err(flaw(format!(
        "refused, but not for the password: {}",
        answer.shown()
    )))
}

/// Two logins by the container's own address in its network: as the role, and as
/// the superuser with any password.
pub(crate) const NETWORK_LOGIN: &str = "\
    here=$(getent ahostsv4 \"$(uname -n)\" | { read -r address _; echo \"$address\"; })\n\
    export PGHOST=$here\n\
    psql -XAtqc \"SELECT 'role', current_user, host(inet_client_addr())\"; echo \"role $?\"\n\
    PGUSER=postgres PGPASSFILE=/dev/null PGPASSWORD=wrong psql -XAtwqc 'SELECT 1'; echo \"superuser $?\"\n\
    true";

/// The first gets in, the second is turned away before its password counts, and
/// the published port leads to PostgreSQL.
pub(crate) fn network_login(facts: &Facts, answer: &Answer) -> Judged {
    let role = format!("role|{}|", facts.spec.database.role);
    let Some(address) = answer.text.lines().find_map(|line| line.strip_prefix(&role)) else {
        return Err(flaw(format!(
            "no login from the container's network: {}",
            answer.shown()
        )));
    };
    if address.starts_with("127.") {
        return Err(flaw(format!(
            "the login came from {address}, which is no network"
        )));
    }
    let said = |word: &str| answer.text.lines().any(|line| line == word);
    if !said("superuser 2") || !answer.text.contains("pg_hba.conf rejects connection") {
        return Err(flaw(format!(
            "the superuser was not turned away by its name: {}",
            answer.shown()
        )));
    }
    let boot = facts.first.as_ref().map_err(Clone::clone)?;
    if boot.first_200.is_none() {
        return Err(flaw(format!(
            "the published port is not PostgreSQL's: {}",
            boot.last_words
        )));
    }
    seen(format!(
        "{} logs in from {address}, the superuser does not; PostgreSQL answers on the published port",
        facts.spec.database.role
    ))
}

/// Where the postmaster works (its working directory is its data directory;
/// `show data_directory` would need a superuser), and what is mounted there.
pub(crate) const DATA_DIRECTORY: &str = "\
    for proc in /proc/[0-9]*; do\n\
      at=$(readlink \"$proc/cwd\" 2>/dev/null) || continue\n\
      [ \"$(head -n 1 \"$at/postmaster.pid\" 2>/dev/null)\" = \"${proc#/proc/}\" ] && echo \"data $at\"\n\
    done\n\
    cat /proc/self/mountinfo";

/// Stops PostgreSQL so that supervisord does not start it again. Where
/// supervisord's stop waits for clients, PostgreSQL's own fast shutdown ends
/// them: how a stop goes is `clean-stop`'s to judge.
pub const TAKE_AWAY: &str = "\
    timeout 5 /usr/local/bin/supervisorctl stop postgresql\n\
    tries=100\n\
    while pg_isready -q; [ $? != 2 ]; do\n\
      tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1\n\
      for proc in /proc/[0-9]*; do\n\
        at=$(readlink \"$proc/cwd\" 2>/dev/null) || continue\n\
        [ \"$(head -n 1 \"$at/postmaster.pid\" 2>/dev/null)\" = \"${proc#/proc/}\" ] && kill -INT \"${proc#/proc/}\"\n\
      done\n\
      sleep 0.05\n\
    done\n\
    echo away";

/// Starts it again and returns once it takes connections. In the background,
/// since supervisorctl waits a second to see whether the program stays.
pub const BRING_BACK: &str = "\
    /usr/local/bin/supervisorctl start postgresql >/dev/null 2>&1 &\n\
    tries=200\n\
    until pg_isready -q; do\n\
      tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1\n\
      sleep 0.05\n\
    done";

/// The mount that holds the data directory is this run's volume.
pub(crate) fn data_on_volume(facts: &Facts, answer: &Answer) -> Judged {
    let Some(directory) = data_directory(answer) else {
        return Err(flaw(format!("no running postmaster: {}", answer.shown())));
    };
    let mut best: Option<(&str, &str)> = None;
    for line in answer.text.lines() {
        // mountinfo (proc(5)): id, parent, device, root, mount point, …
        let words: Vec<&str> = line.split(' ').collect();
        let &[_, _, _, root, point, ..] = words.as_slice() else {
            continue;
        };
        let holds = point == "/"
            || directory
                .strip_prefix(point)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if holds && best.is_none_or(|(_, known)| point.len() >= known.len()) {
            best = Some((root, point));
        }
    }
    let Some((root, point)) = best else {
        return Err(flaw("mountinfo says nothing about the data directory"));
    };
    if root.split('/').any(|part| part == facts.volume) {
        return seen(format!("{directory} on the volume mounted at {point}"));
    }
    Err(flaw(format!(
        "{directory} is not on the volume: it lies on the mount {point} ({root})"
    )))
}

/// The running server's data directory, from [`DATA_DIRECTORY`].
pub(crate) fn data_directory(answer: &Answer) -> Option<&str> {
    answer.text.lines().find_map(|line| line.strip_prefix("data "))
}

/// 360 directions, one a degree: the nearest of 90.3° are known, by distance
/// and by angle alike.
pub(crate) const VECTORS: &str = "psql -XAtq -v ON_ERROR_STOP=1 <<'SQL'
CREATE EXTENSION IF NOT EXISTS vector;
SELECT 'version ' || extversion FROM pg_extension WHERE extname = 'vector';
CREATE SCHEMA IF NOT EXISTS smoke;
CREATE TABLE smoke.points AS
  SELECT n AS id, ARRAY[cosd(n), sind(n), 0]::vector(3) AS at FROM generate_series(1, 360) n;
SELECT format('[%s,%s,0]', cosd(90.3), sind(90.3)) AS near \\gset
SELECT 'exact l2 ' || string_agg(id::text, ' ')
  FROM (SELECT id FROM smoke.points ORDER BY at <-> :'near' LIMIT 5) five;
SELECT 'exact cosine ' || string_agg(id::text, ' ')
  FROM (SELECT id FROM smoke.points ORDER BY at <=> :'near' LIMIT 5) five;
CREATE INDEX points_l2 ON smoke.points USING hnsw (at vector_l2_ops);
CREATE INDEX points_cosine ON smoke.points USING hnsw (at vector_cosine_ops);
SET enable_seqscan = off;
SELECT 'hnsw l2 ' || string_agg(id::text, ' ')
  FROM (SELECT id FROM smoke.points ORDER BY at <-> :'near' LIMIT 5) five;
SELECT 'hnsw cosine ' || string_agg(id::text, ' ')
  FROM (SELECT id FROM smoke.points ORDER BY at <=> :'near' LIMIT 5) five;
EXPLAIN (COSTS off) SELECT id FROM smoke.points ORDER BY at <-> :'near' LIMIT 5;
EXPLAIN (COSTS off) SELECT id FROM smoke.points ORDER BY at <=> :'near' LIMIT 5;
SQL";

/// The five degrees nearest to 90.3.
const KNOWN: &str = "90 91 89 92 88";

/// All four ways give the known answer, two of them by index.
pub(crate) fn vectors(_: &Facts, answer: &Answer) -> Judged {
    if !answer.ok() {
        return Err(flaw(answer.shown()));
    }
    for how in ["exact l2", "exact cosine", "hnsw l2", "hnsw cosine"] {
        let got = answer
            .text
            .lines()
            .find_map(|line| line.strip_prefix(how))
            .map(str::trim);
        if got != Some(KNOWN) {
            return Err(flaw(format!(
                "{how} neighbours are {}, known are {KNOWN}",
                got.unwrap_or("none")
            )));
        }
    }
    for index in ["points_l2", "points_cosine"] {
        if !answer.text.contains(&format!("Index Scan using {index}")) {
            return Err(flaw(format!("the planner does not use the HNSW index {index}")));
        }
    }
    let version = answer.text.lines().find_map(|line| line.strip_prefix("version "));
    seen(format!(
        "pgvector {}: exact and HNSW agree on {KNOWN}, by distance and by cosine",
        version.unwrap_or("?")
    ))
}

/// Nearest-neighbour queries over `$rows` × 384, each timed by psql: one
/// session, over TCP, with no `docker exec` in the figure. 41 over 1,000 where
/// nothing else is set before it.
pub const LATENCY: &str = ": ${rows:=1000} ${queries:=41}
{
cat <<SQL
CREATE SCHEMA IF NOT EXISTS smoke;
SELECT setseed(0.5) \\gset ignored_
CREATE TABLE smoke.embeddings AS SELECT n AS id,
  (SELECT array_agg(random()) FROM generate_series(1, 384) WHERE n > 0)::vector(384) AS at
  FROM generate_series(1, $rows) n;
ALTER TABLE smoke.embeddings ADD PRIMARY KEY (id);
CREATE INDEX embeddings_near ON smoke.embeddings USING hnsw (at vector_cosine_ops);
ANALYZE smoke.embeddings;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT at AS near FROM smoke.embeddings WHERE id = 1 \\gset
EXPLAIN (COSTS OFF) SELECT id FROM smoke.embeddings ORDER BY at <=> :'near' LIMIT 5;
SQL
n=1
while [ $n -le $queries ]; do
cat <<SQL
\\timing off
SELECT at AS near FROM smoke.embeddings WHERE id = $((n * (rows / queries))) \\gset
\\timing on
SELECT 'nearest ' || id FROM smoke.embeddings ORDER BY at <=> :'near' LIMIT 5;
SQL
  n=$((n + 1))
done
} | psql -XAtq -v ON_ERROR_STOP=1";

/// Rows that each timed query gives.
const ROWS_PER_QUERY: usize = 5;

/// Milliseconds of each query of [`LATENCY`] but the first, which is a warm-up.
///
/// # Errors
/// A flaw where the index is not used, or a query did not give all of its rows.
pub fn timings(answer: &Answer) -> Result<Vec<f64>, Flaw> {
    if !answer.ok() {
        return Err(flaw(answer.shown()));
    }
    if !answer.text.contains("Index Scan using embeddings_near") {
        return Err(flaw(format!("the HNSW index is not used: {}", answer.shown())));
    }
    let mut times: Vec<f64> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("Time: ")?.split(' ').next()?.parse().ok())
        .collect();
    let rows = answer.text.lines().filter(|l| l.starts_with("nearest ")).count();
    if times.is_empty() || rows != times.len() * ROWS_PER_QUERY {
        return Err(flaw(format!(
            "{} queries gave {rows} rows, {ROWS_PER_QUERY} each were asked for",
            times.len()
        )));
    }
    times.remove(0);
    Ok(times)
}

/// The median of the warm queries, with the spec's budget as its limit.
pub(crate) fn latency(facts: &Facts, answer: &Answer) -> Judged {
    let warm = timings(answer)?;
    let (Some(middle), Some(p99)) = (median(&warm), percentile(&warm, 0.99)) else {
        return Err(flaw("one query is no measurement"));
    };
    measured(
        Figure::new(middle, Some(facts.spec.budgets.query_ms), "ms"),
        format!(
            "top 5 of 1,000 × 384 by HNSW, median of {}; p99 {p99:.1} ms",
            warm.len()
        ),
    )
}

/// How many rows [`WRITE_ROWS`] commits.
const KEPT: u32 = 1000;

/// Commits rows, and leaves a session with an open transaction behind.
pub const WRITE_ROWS: &str = "\
psql -XAtq -v ON_ERROR_STOP=1 <<'SQL' || exit 1
CREATE SCHEMA IF NOT EXISTS smoke;
CREATE TABLE smoke.kept AS SELECT n AS id, md5(n::text) AS sum FROM generate_series(1, 1000) n;
SQL
PGAPPNAME=smoke-open psql -XAtq >/dev/null 2>&1 <<'SQL' &
BEGIN;
INSERT INTO smoke.kept VALUES (-1, 'never committed');
SELECT pg_sleep(3600);
SQL
tries=100
until [ \"$(psql -XAtqc \"SELECT count(*) FROM pg_stat_activity \
WHERE application_name = 'smoke-open' AND wait_event = 'PgSleep'\")\" = 1 ]; do
  tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1
  sleep 0.05
done
echo open";

/// What is left of them.
pub(crate) const ROWS: &str = "psql -XAtq -F ' ' -c \"SELECT count(*) FILTER (WHERE id > 0 AND sum = md5(id::text)), \
count(*) FILTER (WHERE id < 0) FROM smoke.kept\"";

/// All committed rows whole, none of the open transaction.
pub(crate) fn rows_survive(_: &Facts, answer: &Answer) -> Judged {
    if !answer.ok() {
        return Err(flaw(answer.shown()));
    }
    if answer.text == format!("{KEPT} 0") {
        return Ok(Observation {
            detail: format!("{KEPT} committed rows are whole, the open transaction left none"),
            figure: None,
        });
    }
    Err(wrong_rows(&answer.text))
}

fn wrong_rows(text: &str) -> Flaw {
    match text.split_once(' ') {
        Some((kept, "0")) => flaw(format!("{kept} of {KEPT} committed rows are left")),
        Some((_, open)) => flaw(format!("{open} rows that were never committed are there")),
        None => flaw(format!("psql said {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::facts;
    use container::boot::Boot;
    use std::time::Duration;

    fn answer(code: i32, text: &str) -> Answer {
        Answer {
            code,
            text: text.into(),
            took: Duration::ZERO,
        }
    }

    #[test]
    fn from_the_network_the_role_gets_in_and_the_superuser_does_not() {
        let rejected = "FATAL:  pg_hba.conf rejects connection for host";
        let good = format!("role|hive|172.17.0.3\nrole 0\n{rejected}\nsuperuser 2");
        let mut facts = facts();
        let reached = |first_200| Boot {
            first_200,
            ..Boot::default()
        };
        facts.first = Ok(reached(Some(Duration::from_secs(1))));
        assert!(network_login(&facts, &answer(0, &good)).is_ok());
        for (bad, said) in [
            (
                "connection refused\nrole 2\nsuperuser 2".to_owned(),
                "no login from",
            ),
            (good.replace("172.17.0.3", "127.0.0.1"), "which is no network"),
            (
                good.replace("superuser 2", "1\nsuperuser 0"),
                "was not turned away",
            ),
            (good.replace("rejects", "takes"), "was not turned away"),
        ] {
            let flaw = network_login(&facts, &answer(0, &bad)).unwrap_err();
            assert!(flaw.detail.contains(said), "{said}: {}", flaw.detail);
        }
        facts.first = Ok(reached(None));
        let flaw = network_login(&facts, &answer(0, &good)).unwrap_err();
        assert!(
            flaw.detail.starts_with("the published port is not"),
            "{}",
            flaw.detail
        );
    }

    #[test]
    fn login_is_the_specs_role_and_no_superuser() {
        let good = "hive_genie hive off 127.0.0.1 17.6 (Debian 17.6-1)";
        assert!(login(&facts(), &answer(0, good)).is_ok());
        for bad in [
            "hive_genie hive on 127.0.0.1 17.6",
            "postgres hive off 127.0.0.1 17.6",
            "hive_genie postgres off 127.0.0.1 17.6",
            "",
        ] {
            assert!(login(&facts(), &answer(0, bad)).is_err(), "{bad}");
        }
        assert!(login(&facts(), &answer(2, good)).is_err());
    }

    #[test]
    fn a_refusal_for_another_reason_is_none() {
        let good = "psql: error: FATAL:  password authentication failed for user \"hive\"\nwrong 2\n\
                    psql: error: fe_sendauth: no password supplied\nnone 2";
        assert!(wrong_password(&facts(), &answer(0, good)).is_ok());
        let trust = "1\nwrong 0\n1\nnone 0";
        let said = wrong_password(&facts(), &answer(0, trust)).unwrap_err().detail;
        assert_eq!(said, "a login with a wrong password was accepted");
        let down = "Connection refused\nwrong 2\nConnection refused\nnone 2";
        assert!(wrong_password(&facts(), &answer(0, down)).is_err());
    }

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "\
data /var/lib/postgresql/data/pgdata
20 1 0:30 / / rw - overlay overlay rw
21 20 8:1 /x/volumes/smoke-volume/_data /var/lib/postgresql/data rw - ext4 /dev/sda rw
22 20 8:1 /x/volumes/other/_data /var/lib/postgresql/database rw - ext4 /dev/sda rw";
        assert!(data_on_volume(&facts(), &answer(0, mounts)).is_ok());
        let off = mounts.replace("data /var/lib/postgresql/data/pgdata", "data /srv/pgdata");
        let said = data_on_volume(&facts(), &answer(0, &off)).unwrap_err().detail;
        assert!(said.contains("mount / (/)"), "{said}");
        let anonymous = mounts.replace("smoke-volume", "0a1b");
        assert!(data_on_volume(&facts(), &answer(0, &anonymous)).is_err());
        let down = mounts.replace("data /var/lib/postgresql/data/pgdata\n", "");
        assert!(data_on_volume(&facts(), &answer(0, &down)).is_err());
    }

    const GOOD_VECTORS: &str = "\
version 0.8.0
exact l2 90 91 89 92 88
exact cosine 90 91 89 92 88
hnsw l2 90 91 89 92 88
hnsw cosine 90 91 89 92 88
Limit
  ->  Index Scan using points_l2 on points
  ->  Index Scan using points_cosine on points";

    #[test]
    fn neighbours_are_known_and_come_by_index() {
        assert!(vectors(&facts(), &answer(0, GOOD_VECTORS)).is_ok());
        for (from, to) in [
            ("hnsw l2 90 91", "hnsw l2 91 90"),
            ("exact cosine 90", "exact cosine 1"),
            ("Index Scan using points_l2", "Seq Scan"),
            ("hnsw cosine", "nothing"),
        ] {
            let bad = GOOD_VECTORS.replace(from, to);
            assert!(vectors(&facts(), &answer(0, &bad)).is_err(), "{to}");
        }
        let missing = answer(3, "ERROR:  extension \"vector\" is not available");
        assert!(vectors(&facts(), &missing).is_err());
    }

    #[test]
    fn latency_drops_the_warm_up_and_counts_rows() {
        let query = |ms: &str| format!("{}Time: {ms} ms\n", "nearest 1\n".repeat(5));
        let plan = "Limit\n  ->  Index Scan using embeddings_near on embeddings\n";
        let text = format!("{plan}{}", ["90.0", "1.0", "2.0", "3.0"].map(query).concat());
        let figure = latency(&facts(), &answer(0, &text)).unwrap().figure.unwrap();
        assert!((figure.value - 2.0).abs() < 1e-9);
        let exact = text.replace("embeddings_near", "embeddings_pkey");
        assert!(latency(&facts(), &answer(0, &exact)).is_err());
        let slow = format!("{plan}{}", ["1.0", "80.0", "90.0"].map(query).concat());
        assert!(latency(&facts(), &answer(0, &slow)).is_err());
        assert!(latency(&facts(), &answer(0, &format!("{plan}Time: 1.0 ms"))).is_err());
        assert!(latency(&facts(), &answer(0, "")).is_err());
    }

    #[test]
    fn lost_and_uncommitted_rows() {
        assert!(rows_survive(&facts(), &answer(0, "1000 0")).is_ok());
        let said = |text| rows_survive(&facts(), &answer(0, text)).unwrap_err().detail;
        assert_eq!(said("998 0"), "998 of 1000 committed rows are left");
        assert_eq!(said("1000 1"), "1 rows that were never committed are there");
        assert!(rows_survive(&facts(), &answer(1, "ERROR: relation does not exist")).is_err());
    }
}
