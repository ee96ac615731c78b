//! Migrations on a real engine: of a cluster that somebody else has made, into the
//! service of an image, and back.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::MutexGuard;

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run};

const NAME: &str = "test-genie";
const IMAGE: &str = "hive-test-genie:latest";

/// The volume with the source.
const SOURCE: &str = "test-genie-of-the-past";

/// Makes a cluster as images of others do: another superuser, below the mount, in a locale
/// that no image of ours has. Its programs are those of `$1`, its folder is `$2`.
const MAKE: &str = r#"
mkdir -p /tmp/locale && ln -s /usr/lib/locale/C.utf8 /tmp/locale/en_US.utf8
ln -s /usr/lib/locale/C.utf8 /tmp/locale/de_DE.utf8
unset PGSERVICE PGSERVICEFILE PGDATA
export LOCPATH=/tmp/locale PATH=$1:$PATH PGHOST=/tmp PGUSER=agno
more=
case $(postgres --version) in *" 17."*) more=--locale-provider=libc ;; esac
initdb --pgdata="$2" --username=agno --auth=trust --locale=en_US.utf8 $more > /dev/null
echo "work_mem = 16MB" >> "$2/postgresql.conf"
pg_ctl start -s -w -D "$2" -o "-k /tmp -h '' -c max_prepared_transactions=2" -l /tmp/log
createdb agno
psql -Xq -v ON_ERROR_STOP=1 -d agno -f -
pg_ctl stop -s -m fast -D "$2"
"#;

/// What real applications have, and what people have tripped over.
const CONTENT: &str = r#"
CREATE ROLE reader; CREATE ROLE "the app" SUPERUSER;
CREATE SCHEMA "odd ""schema"; CREATE SCHEMA trap;
CREATE TABLE "odd ""schema"."a table
with (lines" ("a column" text COLLATE "C", id bigint GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY);
INSERT INTO "odd ""schema"."a table
with (lines" ("a column") SELECT 'tab' || chr(9) || n || chr(10) || '\.' FROM generate_series(1, 300) n;
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO parts SELECT n, '2025-05-05' FROM generate_series(1, 50) n;
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$;
CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN IF current_user = 'postgres' THEN RAISE 'called as superuser'; END IF; RETURN $1; END$$;
CREATE TABLE trap.checked (t text DEFAULT 'x' CHECK (trap.lower(t) IS NOT NULL));
CREATE INDEX ON trap.checked (trap.lower(t));
INSERT INTO trap.checked VALUES ('a'), ('b');
ALTER DATABASE agno SET search_path = trap, public, pg_catalog;
ALTER DATABASE agno SET bytea_output = 'escape';
CREATE TABLE binary_ones (b bytea, at timestamptz, f float8);
INSERT INTO binary_ones SELECT '\x00ff0a', pg_catalog.now(), 1.0 / 3;
ALTER TABLE binary_ones OWNER TO "the app"; GRANT SELECT ON binary_ones TO reader;
SELECT lo_from_bytea(4711, 'large');
CREATE SEQUENCE lonely; SELECT nextval('lonely') FROM generate_series(1, 7);
CREATE VIEW seen AS SELECT * FROM parts;
"#;

/// With the extension, which only the image's own programs have.
const VECTORS: &str = r#"
CREATE EXTENSION vector SCHEMA public; CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions;
CREATE INDEX ON trap.checked USING gin (t extensions.gin_trgm_ops);
CREATE TABLE vectors (id serial PRIMARY KEY, v public.vector(3));
INSERT INTO vectors (v) SELECT ('[' || n || ',1,' || n % 7 || ']')::public.vector FROM generate_series(1, 200) n;
CREATE INDEX ON vectors USING hnsw (v public.vector_l2_ops);
CREATE INDEX ON vectors USING ivfflat (v public.vector_cosine_ops) WITH (lists = 5);
"#;

/// A database of which an image of ours can make nothing. A transaction that is prepared has
/// locked one of its tables.
const BAD: &str = r#"
CREATE DATABASE bad; \c bad
CREATE COLLATION "de_DE" (provider = libc, locale = 'de_DE.utf8');
CREATE TABLE sorted (t text COLLATE "de_DE"); CREATE INDEX ON sorted (t);
CREATE FUNCTION called() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE EVENT TRIGGER fires ON ddl_command_end EXECUTE FUNCTION called();
CREATE TABLE locked (); BEGIN; ALTER TABLE locked ADD COLUMN later text; PREPARE TRANSACTION 'it''s two';
"#;

/// The service of the image that all tests have, and a source beside it.
struct Migrator {
    _alone: MutexGuard<'static, ()>,
    checkout: Checkout,
    port: String,
}

impl Migrator {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = Self {
            _alone: sandbox::service_of("genie"),
            checkout: Checkout::renamed(),
            port: listener.local_addr().unwrap().port().to_string(),
        };
        drop(listener);
        one.up();
        one
    }

    fn up(&self) -> Run {
        self.xtask(&["up", NAME, "--port", &self.port]).expect(0)
    }

    fn xtask(&self, args: &[&str]) -> Run {
        self.checkout.xtask(args)
    }

    fn migrate(&self, more: &[&str]) -> Run {
        self.xtask(&[&["migrate", NAME], more].concat())
    }

    fn sql(&self, statement: &str) -> String {
        docker(&["exec", NAME, "psql", "-XAtqc", statement])
            .trim()
            .to_owned()
    }

    /// A migration that is killed as soon as it says that a step begins; what it said.
    fn killed_at(&self, step: &str) -> String {
        let mut command = self
            .checkout
            .command(&["migrate", NAME, "--from", SOURCE, "--database", "agno"]);
        sandbox::killed_at(&mut command, NAME, step)
    }

    /// Kills a migration at each of its steps. Each one has the one before to put right, and
    /// is killed in its turn; the last one is left to whatever comes.
    fn killed_at_each_step(&self) {
        let steps = data::migrate::STEPS;
        let mended = |said: &str, place: usize| sandbox::mended(said, &steps, place);
        let mut left = None;
        for (place, step) in steps.into_iter().enumerate() {
            let said = self.killed_at(step);
            if let Some(before) = left.replace(place) {
                mended(&said, before);
            }
            if step == "exchange" {
                // Whatever the next command is: it meets whole data.
                mended(&self.up().stderr, place);
                assert_eq!(self.sql("SELECT \"is\" FROM mark"), "of today");
                left = None;
            }
        }
    }
}

impl Drop for Migrator {
    fn drop(&mut self) {
        // Any of them may be gone, and a test that fails has said why.
        let helpers = format!("name={NAME}.migrate-");
        let listed = docker(&["ps", "--all", "--quiet", "--filter", &helpers]);
        for helper in listed.lines() {
            let _ended = sandbox::docker().args(["rm", "--force", helper]).output();
        }
        sandbox::remove_service(NAME);
        sandbox::remove(&[&["rm", "--force", USER], &["volume", "rm", SOURCE]]);
    }
}

/// A container that has used the source, as those of others do.
const USER: &str = "test-genie-past";

/// Makes the source as this folder of its volume, of this user; `more` are options of
/// `docker run`.
fn make_source((folder, user): (&str, &str), programs: &str, content: &[&str], more: &[&str]) {
    docker(&["volume", "create", SOURCE]);
    let mount = format!("{SOURCE}:/source");
    let run = [
        &["run", "--rm", "--interactive", "--network", "none", "--user", "0:0", "--volume", &mount][..],
        more,
        &["--entrypoint", "sh", IMAGE, "-ec"],
        // initdb wants its user to have a name.
        &["echo old:x:$4:$4:::/bin/sh >> /etc/passwd && chown $4:$4 /source && exec setpriv --reuid=$4 --regid=$4 --clear-groups sh -ec \"$1\" sh \"$2\" \"$3\""],
        &["sh", MAKE, programs, folder, user],
    ]
    .concat();
    let mut command = sandbox::docker();
    let mut child = command
        .args(run)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), content.concat().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Lets all of a volume be somebody else's.
fn give_volume(volume: &str, owner: &str) {
    let mount = format!("{volume}:/given");
    let user = ["run", "--rm", "--network", "none", "--user", "0:0"];
    let what = [
        "--volume",
        &mount,
        "--entrypoint",
        "chown",
        IMAGE,
        "-R",
        owner,
        "/given",
    ];
    docker(&[&user[..], &what].concat());
}

/// Each name with mode, owner, time and content, by other programs than the tool's.
fn state_of_source() -> String {
    let mount = format!("{SOURCE}:/source:ro");
    let script = "cd /source && find . -printf '%p %m %U:%G %T@ %l\\n' | sort && \
        find . -type f -print0 | sort -z | xargs -0 sha256sum";
    docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "0:0",
        "--volume",
        &mount,
        "--entrypoint",
        "sh",
        IMAGE,
        "-c",
        script,
    ])
}

#[test]
#[ignore = "needs an engine"]
fn a_cluster_of_the_past_becomes_the_data_of_a_service() {
    let service = Migrator::start();
    service.sql("CREATE TABLE mark AS SELECT 'of today' AS is");
    make_source(
        ("/source/pgdata", "1000"),
        "/usr/bin",
        &[CONTENT, VECTORS, BAD],
        &[],
    );
    let before = state_of_source();
    let mount = format!("{SOURCE}:/var/lib/postgresql/data");
    docker(&[
        "create",
        "--name",
        USER,
        "--volume",
        &mount,
        "--entrypoint",
        "true",
        IMAGE,
    ]);
    service
        .migrate(&["--from", USER, "--dry-run", "--database", "bad"])
        .expect(3)
        .says(&[
            "de_DE",
            "CREATE EVENT TRIGGER fires ON ddl_command_end: permission denied",
            "rows neither there nor gone: it's two (database bad)",
        ]);
    assert_eq!(service.sql("SELECT \"is\" FROM mark"), "of today");
    service.killed_at_each_step();
    for looks in [&["--from", SOURCE, "--dry-run"][..], &["--rollback"]] {
        let refused = service.migrate(looks).expect(3);
        refused.says(&["was killed at \"start\"", "nothing was touched", "cargo xtask up"]);
    }
    assert_eq!(state_of_source(), before, "the source was written to");
    let folder = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", SOURCE]);
    // Where the engine is this machine's own.
    let folder = Some(folder.trim()).filter(|folder| Path::new(folder).is_dir());
    let done = service
        .migrate(&["--from", folder.unwrap_or(SOURCE), "--database", "agno"])
        .expect(0);
    done.says(&[
        "was killed at \"start\"",
        "databases: bad",
        "superusers: agno, the app",
        "database agno: search_path=trap, public, pg_catalog",
        "work_mem = 16MB",
        "the order of text by en_US.utf8",
        "trap.checked: 2 rows, the same as in the source",
        "with (lines\": 300 rows",
        "2 vector indexes",
        "the source is as it was: sha256",
        "migrate test-genie --rollback",
    ]);
    assert_eq!(state_of_source(), before, "the source was written to");
    for (question, answer) in [
        (
            "SELECT count(*) FROM \"odd \"\"schema\".\"a table\nwith (lines\"",
            "300",
        ),
        (
            "INSERT INTO \"odd \"\"schema\".\"a table\nwith (lines\" VALUES ('new') RETURNING id",
            "400",
        ),
        (
            "SELECT convert_from(lo_get(4711), 'UTF8') || nextval('lonely')",
            "large8",
        ),
        ("SELECT f = 1.0 / 3 AND b = '\\x00ff0a' FROM binary_ones", "t"),
        ("SELECT count(*) FROM seen", "50"),
        (
            "SELECT id FROM vectors ORDER BY v OPERATOR(public.<->) '[77,1,0]' LIMIT 1",
            "77",
        ),
        ("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", "f"),
        (
            "SELECT count(*) FROM pg_roles WHERE rolname ~ 'hive_migrate|the app|reader'",
            "0",
        ),
    ] {
        assert_eq!(service.sql(question), answer, "{question}");
    }
    service
        .migrate(&["--rollback"])
        .expect(2)
        .says(&["lost to it", "--rollback --rollback"]);
    let mut back = service
        .checkout
        .command(&["migrate", NAME, "--rollback", "--rollback"]);
    sandbox::killed_at(&mut back, NAME, "start");
    sandbox::served_meanwhile(NAME);
    let again = service.migrate(&["--rollback", "--rollback"]).expect(0);
    again.says(&[
        "was killed at \"start\"",
        "the data from before",
        "cargo xtask up",
    ]);
    service.up();
    assert_eq!(service.sql("SELECT \"is\" FROM mark"), "of today");
    service
        .migrate(&["--rollback"])
        .expect(2)
        .says(&["come from no migration"]);
}

/// By the machine's own programs, onto a service that has no data yet; then by its own, as
/// from one version to the next.
#[test]
#[ignore = "needs an engine"]
fn an_older_version_becomes_the_data_and_those_of_the_service_itself() {
    let service = Migrator::start();
    let volume = format!("{NAME}-data");
    service.sql("CREATE TABLE mark AS SELECT 'of today' AS is");
    let told = service.migrate(&["--from", &volume]).expect(2);
    told.says(&["its container is there", "cargo xtask down test-genie"]);
    let programs = "/usr/lib/postgresql/15/bin";
    if Path::new(programs).join("initdb").is_file() {
        let machine = ["--mount", "type=bind,source=/usr,target=/usr,readonly"];
        // At the top of its volume, and of the user that Debian's packages make.
        make_source(("/source", "999"), programs, &[CONTENT], &machine);
        let before = state_of_source();
        let (down, data) = (["down", NAME], ["--volumes", NAME, "--volumes", NAME]);
        service.xtask(&[&down[..], &data].concat()).expect(0);
        let moved = service.migrate(&["--from", SOURCE]).expect(0);
        moved.says(&[
            "test-genie: PostgreSQL 15.",
            "trap.checked: 2 rows",
            "cargo xtask up",
        ]);
        assert_eq!(state_of_source(), before, "the source was written to");
        let nothing = service.migrate(&["--rollback", "--rollback"]).expect(2);
        nothing.says(&["nothing is kept of what ran before"]);
        service.up();
        assert_eq!(service.sql("SELECT count(*) FROM seen"), "50");
        service.sql("CREATE TABLE mark AS SELECT 'of today' AS is");
    } else {
        sandbox::skipped("the machine has no programs of PostgreSQL 15");
    }
    service.xtask(&["down", NAME]).expect(0);
    // In no image has this number a name, as ours has none in the images of others.
    give_volume(&volume, "4242:4242");
    let moved = service.migrate(&["--from", &volume]).expect(0);
    moved.says(&["public.mark: 1 rows"]);
    give_volume(&volume, "1000:1000");
    service.up();
    assert_eq!(service.sql("SELECT \"is\" FROM mark"), "of today");
    // Ours is known as ours: its initial SQL is not run again.
    let renamed = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^hive_image_of'";
    assert_eq!(service.sql(renamed), "0");
    let back = service.migrate(&["--rollback", "--rollback"]).expect(0);
    back.says(&["healthy", "--forget failed-"]);
    assert_eq!(service.sql("SELECT \"is\" FROM mark"), "of today");
}
