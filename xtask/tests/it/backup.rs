//! Backups of containers that work, on a real engine: taken under load, read by
//! other people's programs, proved, refused, and cleaned up after.

mod encrypted;
mod plain_programs;
mod refused;
mod source;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::plain_programs::{dump_with_plain_programs, with_plain_programs};
use self::source::Source;
use crate::smoke_gate::good;

/// What an app's role can put in the way of a superuser that reads its database,
/// and what would speak for it if it were called.
const IN_THE_WAY: &str = "CREATE SCHEMA own; \
    CREATE FUNCTION own.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$; \
    CREATE FUNCTION own.n() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$; \
    CREATE VIEW own.one AS SELECT own.n() AS n; CREATE SEQUENCE own.of_a_view; \
    ALTER SEQUENCE own.of_a_view OWNED BY own.one.n; CREATE TABLE counted (n serial); \
    CREATE FUNCTION own.low(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
      IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE 'called'; END IF; \
      RETURN lower($1); END$$; REVOKE EXECUTE ON FUNCTION own.low FROM PUBLIC; \
    CREATE TABLE own.\"all kinds\" (n int PRIMARY KEY, t text NOT NULL, a int[], r int4range, d tsvector, v public.vector(3)); \
    INSERT INTO own.\"all kinds\" SELECT n, 'T' || n, ARRAY[n % 7, n], int4range(n, n + 3), \
      to_tsvector('simple', $$it's a \\ w$$ || n), ARRAY[n, 1, n % 5]::public.vector FROM generate_series(1, 2000) n; \
    CREATE INDEX ON own.\"all kinds\" (own.low(t)) WHERE own.low('A') = 'a'; \
    CREATE INDEX ON own.\"all kinds\" USING gin (a); CREATE INDEX ON own.\"all kinds\" USING gin (d); \
    CREATE INDEX ON own.\"all kinds\" USING gist (r); CREATE INDEX ON own.\"all kinds\" USING spgist (t); \
    CREATE INDEX ON own.\"all kinds\" USING hash (own.low(t)); CREATE INDEX ON own.\"all kinds\" USING brin (n); \
    CREATE INDEX ON own.\"all kinds\" USING hnsw ((v::public.halfvec(3)) public.halfvec_l2_ops); \
    CREATE INDEX ON own.\"all kinds\" USING hnsw ((public.binary_quantize(v)::bit(3)) public.bit_hamming_ops); \
    DELETE FROM own.\"all kinds\" WHERE n % 10 = 3; \
    ALTER TABLE own.\"all kinds\" FORCE ROW LEVEL SECURITY; ALTER TABLE own.\"all kinds\" ENABLE ROW LEVEL SECURITY; \
    CREATE SEQUENCE own.plain; CREATE TABLE own.multiples (n bigint DEFAULT nextval('own.plain') * 10); INSERT INTO own.multiples DEFAULT VALUES; \
    CREATE MATERIALIZED VIEW own.later AS SELECT n FROM own.\"all kinds\" WITH NO DATA; CREATE INDEX ON own.later (n); \
    CREATE UNLOGGED TABLE own.sessions AS SELECT 1 AS n; CREATE UNLOGGED TABLE own.nothing (n int); \
    CREATE TABLE own.late (id bigserial PRIMARY KEY); INSERT INTO own.late VALUES (999999); \
    CREATE SEQUENCE own.shared; CREATE TABLE own.later_still (id bigint DEFAULT nextval('own.shared')); INSERT INTO own.later_still VALUES (5); \
    ALTER DATABASE hive_genie SET enable_indexonlyscan = off; \
    ALTER DATABASE hive_genie SET statement_timeout = 600000; \
    ALTER ROLE hive SET client_encoding TO 'utf8'; \
    ALTER DATABASE hive_genie SET search_path = own, pg_catalog, public";

/// An index whose function finds its names by the app's `search_path`: it works for the app alone.
const OF_THE_PATH: &str = "CREATE FUNCTION own.unnamed(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'; \
    CREATE FUNCTION own.by_path(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN unnamed($1); END$$; \
    CREATE TABLE own.unfit (t text PRIMARY KEY); CREATE INDEX ON own.unfit (own.by_path(t)); \
    INSERT INTO own.unfit SELECT 't' || n FROM generate_series(1, 100) n";

/// Under a load that turns the log over several times, in a hardened container of
/// another uid. What comes of it needs nothing of ours: zstd, tar and PostgreSQL.
#[test]
#[ignore = "needs an engine"]
fn a_backup_under_load_is_read_by_other_programs() {
    let source = Source::start("backup-load");
    // So that the log is recycled after every few rows of the ledger.
    source.inside(
        "PGSERVICE=superuser psql -XAtq -c \"ALTER SYSTEM SET max_wal_size = '32MB'\" -c \"ALTER SYSTEM SET min_wal_size = '32MB'\" \
         -c 'SELECT pg_reload_conf()'",
    );
    source.sql(IN_THE_WAY);
    source.sql(OF_THE_PATH);
    // A database that its owner has closed, and one that somebody has begun to drop.
    source.superuser(
        "CREATE DATABASE shut OWNER hive; ALTER DATABASE shut ALLOW_CONNECTIONS false; \
         CREATE DATABASE half; UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'",
    );
    source.inside("echo key > $PGDATA/../hive/secret.FIELD_KEY");
    source.sql("CREATE TABLE large AS SELECT n, md5(n::text) AS text FROM generate_series(1, 300000) n");
    let load = source.load();
    let began = Instant::now();
    while load.acknowledged() < 10 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the load does not start"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let file = source.backups.path().join("own name.tar.zst");
    let known = load.acknowledged();
    let done = source.backup(&["--to", file.to_str().unwrap()]).expect(0);
    let wal =
        source.inside("PGSERVICE=superuser psql -XAtqc 'SELECT pg_current_wal_lsn() - $$0/0$$::pg_lsn'");
    drop(load);
    assert!(
        wal.parse::<u64>().unwrap() > 4 * 32_000_000,
        "the log was not turned over: {wal}"
    );
    done.says(&["written test-genie", "restored test-genie"]);
    done.says(&[
        "all of 4 databases read",
        "4 of other kinds to samples",
        "own.late_id_seq is behind own.late.id (database hive_genie)",
        "own.shared is behind own.later_still.id (database hive_genie)",
        "table own.sessions (database hive_genie) comes back empty",
        "secret FIELD_KEY is not in it",
    ]);
    assert!(!done.stderr.contains("own.nothing"), "{}", done.stderr);
    done.says(&[", not asked: own.unfit_by_path_idx, "]);
    assert_eq!(done.stdout.trim(), file.to_str().unwrap());
    assert_eq!(
        fs_err::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(source.sql(slots), "0", "the slot went with its session");
    // No server makes it again of rows that are there.
    source.sql("DROP TABLE own.unfit");
    let dump = source.backup(&["--logical"]).expect(0);
    dump.says(&[
        "written test-genie",
        "loaded, 12 tables with ",
        "database shut is not in it",
    ]);
    dump.says(&["own.late_id_seq is behind own.late.id"]);
    assert!(!dump.stderr.contains("comes back empty"), "{}", dump.stderr);
    let dump = PathBuf::from(dump.stdout.trim());
    let list = source.xtask(&["backup", "list", "test-genie"]).expect(0).stdout;
    assert!(list.contains("  logical   restored  "), "{list}");

    let Some(rows) = with_plain_programs(&file, &good("genie")) else {
        return;
    };
    for rows in [rows, dump_with_plain_programs(&dump, &good("genie"))] {
        let (count, last) = rows.split_once('|').unwrap();
        assert_eq!(count, last, "no row between is missing");
        assert!(
            last.parse::<u64>().unwrap() >= known,
            "{known} were committed before: {rows}"
        );
    }
}
