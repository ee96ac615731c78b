//! The full suite's faults of volumes and surroundings, on images without the
//! guards that they are there for; odd names; an upgrade between two builds.

use definition::reference::ReleaseTag;
use host::report::Report;

use smoke::fault::Faults;
use smoke::faults::FULL;

use crate::build_images::Bench;
use crate::smoke_full::{each_finds_its_flaw, expect_flaws};
use crate::smoke_gate::{UNCOMPILED, Variant, prove, run};

/// Each edit takes away one guard.
pub(crate) fn without(edits: &[&str]) -> String {
    run(&format!(
        "cd /usr/local/lib/hive/hive_container; {}; {UNCOMPILED}",
        edits.join("; ")
    ))
}

#[test]
#[ignore = "needs an engine"]
fn an_image_that_takes_any_volume() {
    let lines = without(&[
        "sed -i '/^def inspect(cluster/a \\    return' cluster.py",
        "sed -i '/^def inspect_owners/a \\    return' volume.py",
        "sed -i 's/^    tighten()/    pass/' volume.py",
        "sed -i 's/^FREE_TO_ADOPT = .*/FREE_TO_ADOPT = 0/' volume.py",
        "sed -i 's/^    single_user(cluster, .f\"ALTER/    write_private(SUPERUSER_PASSFILE, pgpass_line(SUPERUSER, password)); &/; \
         s/; *single_user(cluster/; single_user(cluster/' adoption.py",
        "sed -i \"s/relkind IN ('r'.*)/relkind IN ('p')/\" database.py",
        "sed -i \"s/format('REINDEX INDEX/format('VACUUM/\" database.py",
        "sed -i 's/^        volume.inspect_space.*/        pass/' ../run-postgresql",
    ]);
    each_finds_its_flaw(
        "any-volume",
        &lines,
        &[
            // PostgreSQL starts on it after a clean shutdown, and has no room to recover from.
            (
                "half-copied-volumes",
                "with half of its WAL: the container should have refused to start",
            ),
            (
                "foreign-volumes",
                "with one file of another owner: the container should have refused to start",
            ),
            ("harmless-volumes", "the container ended"),
            (
                "disk-full-at-first-boot",
                "the container should have refused to start",
            ),
            ("disk-full-while-writing", "the disk is full: exit code 1"),
            ("restored-volume", "the container ended"),
            ("lost-table", "the container should have refused to start"),
            ("collation-versions", "nothing of the index in the log"),
        ],
    );
}

#[test]
#[ignore = "needs an engine"]
fn an_image_for_one_place_only() {
    let lines = without(&[
        "sed -i 's/fcntl.flock(descriptor, .*)/pass/' volume.py",
        "sed -i 's/^    inspect_temporary_directory()/    pass/' ../entrypoint",
        "sed -i 's/if not line or any(/if False and any(/' image.py",
        "sed -i 's/quote(text, safe=\"\")/text/' image.py",
        "sed -i 's/unset ${!PG@}/true/' image.py",
        "sed -i 's/image.write_private(EXTRA_USERS, .*/pass/' ../entrypoint",
        "sed -i '/^log_timezone/d' /etc/hive/postgresql.conf",
        "sed -i 's/\"listen_addresses\": .*/\"listen_addresses\": \"localhost\",/' ../run-postgresql",
    ]);
    each_finds_its_flaw(
        "one-place",
        &lines,
        &[
            ("volume-in-use", "a second container: "),
            ("wrong-settings", "a place for temporary files: exit code 1"),
            (
                "wrong-password-files",
                "empty: the container should have refused to start",
            ),
            ("odd-password", ""),
            ("moved-port", "the image's own check: unhealthy"),
            ("arbitrary-user", "the container ended"),
            ("bare-surroundings", "the container ended"),
            ("clock-and-zone", "the server's log is not in UTC"),
        ],
    );
}

/// Characters that mean something in SQL, URLs, conninfo strings, shells and
/// password files.
#[test]
#[ignore = "needs an engine"]
fn odd_names_of_role_and_database() {
    let (role, database) = (r#"o'ne "two" é:\x$y"#, r#"a=b c/d%20?e&f'g"h\i"#);
    let edit = "import json\n\
        path = \"/etc/hive/image.json\"\n\
        image = json.load(open(path))\n\
        image[\"database\"].update(ROLE_AND_NAME)\n\
        json.dump(image, open(path, \"w\"))";
    let names = serde_json::json!({"role": role, "name": database}).to_string();
    let edit = edit.replace("ROLE_AND_NAME", &names);
    let lines = format!("USER root\nRUN <<'SH'\npython3 - <<'PY'\n{edit}\nPY\nSH\nUSER 1000:1000");
    let named = |spec: &mut definition::spec::ImageSpec| {
        spec.database.role = role.to_owned();
        spec.database.name = database.to_owned();
    };
    let state = tempfile::tempdir().unwrap();
    let variant = Variant::build("odd-names", &lines);
    let mut subject = variant.subject();
    named(&mut subject.spec);
    let verdict = prove(&variant.resources, &[subject], state.path()).remove(0);
    assert!(verdict.passed(), "{:?}", verdict.causes());
}

/// A later version of the sample app's migrations.
const LATER: (&str, &str) = (
    "    DEPLOYMENTS_TABLE,\n]",
    "    DEPLOYMENTS_TABLE,\n    \"ALTER TABLE genie_sessions ADD COLUMN IF NOT EXISTS note TEXT\",\n]",
);

#[test]
#[ignore = "needs an engine"]
fn an_upgrade_is_tried_from_the_image_before() {
    let bench = Bench::new("upgraded", "", "");
    bench.xtask(&["build-images"]).expect(0);
    let first = bench.id("latest").unwrap();
    let upgrade = ["smoke", "--suite", "full", "--only", "upgrade", "--json"];
    let detail = || bench.xtask(&upgrade).expect(0).json().to_string();
    let alone = detail();
    assert!(alone.contains("no earlier image is in this engine"), "{alone}");
    bench
        .checkout
        .edit("images/sample-app/api/migrate.py", LATER.0, LATER.1);
    bench.xtask(&["build-images"]).expect(0);
    assert_ne!(bench.id("latest").unwrap(), first);
    let tried = detail();
    assert!(
        tried.contains(&format!("on a volume of {first} with plpgsql")),
        "{tried}"
    );
}

/// A migration that works on empty tables only: once the column is there it does
/// nothing, so no first start and no restart shows it.
const ON_EMPTY_TABLES: (&str, &str) = (
    "    DEPLOYMENTS_TABLE,\n]",
    "    DEPLOYMENTS_TABLE,\n    \"ALTER TABLE documents ADD COLUMN IF NOT EXISTS owner TEXT NOT NULL\",\n    \
     \"ALTER TABLE documents ALTER owner SET DEFAULT ''\",\n]",
);

/// A migration that drops a table and makes it again, once in the volume's life.
const MADE_AGAIN: (&str, &str) = (
    "    DEPLOYMENTS_TABLE,\n",
    "    DEPLOYMENTS_TABLE,\n    \"DO $$ BEGIN IF to_regclass('made_again') IS NULL THEN DROP TABLE documents; \
     CREATE TABLE made_again (); END IF; END $$\",\n    DOCUMENTS_TABLE,\n    DOCUMENTS_INDEX,\n",
);

#[test]
#[ignore = "needs an engine"]
fn a_migration_that_fails_on_rows_or_takes_them_gets_no_tag() {
    let bench = Bench::new("rows", "", "");
    bench.build().expect(0);
    let first = bench.id("latest").unwrap();
    bench.checkout.edit(
        "images/sample-app/api/migrate.py",
        ON_EMPTY_TABLES.0,
        ON_EMPTY_TABLES.1,
    );
    let refused = bench.build().expect(4);
    let said = "FAIL rows-of-before\n       on a volume of the image before (";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("contains null values"),
        "{}",
        refused.stderr
    );
    assert_eq!(bench.id("latest").unwrap(), first);
    bench.checkout.edit(
        "images/sample-app/api/migrate.py",
        "owner TEXT NOT NULL",
        "owner TEXT NOT NULL DEFAULT ''",
    );
    bench.xtask(&["build-images"]).expect(0);
    let smoked = bench.xtask(&["smoke", "--json"]).expect(0).json().to_string();
    let left = "with the rows that 9 checks of the spec left: healthy";
    assert!(smoked.contains(left), "{smoked}");

    let second = bench.id("latest");
    bench
        .checkout
        .edit("images/sample-app/api/migrate.py", MADE_AGAIN.0, MADE_AGAIN.1);
    let refused = bench.build().expect(4);
    refused.says(&[
        "FAIL rows-of-before\n",
        "public.documents had ",
        " rows and is empty",
    ]);
    assert_eq!(bench.id("latest"), second);
}

/// The prepared cluster with pgvector 0.7.4 in it. That is what pgvector's own
/// script updates from: 0.8.0 without what the script adds.
const OLDER_PGVECTOR: &str = r#"USER root
RUN <<'SH'
set -eu
cd /usr/share/postgresql/17/extension
python3 -I - <<'PY'
import re
base = open("vector--0.8.0.sql").read()
added = re.findall(r"^CREATE .*?;\n", open("vector--0.7.4--0.8.0.sql").read(), re.S | re.M)
assert added and all(statement in base for statement in added)
for statement in added:
    base = base.replace(statement, "")
open("vector--0.7.4.sql", "w").write(base)
PY
sed -i "s/'0.8.0'/'0.7.4'/" vector.control
cluster=/usr/share/hive/cluster
# Files of their own, and a whole WAL segment, as on a volume.
cp -r --no-preserve=links $cluster /tmp/cluster
truncate -s 16M /tmp/cluster/pg_wal/0*
chown -R 1000:1000 /tmp/cluster
chmod -R go-rwx /tmp/cluster
# As images once made it, and left it: among the numbers that pg_dump leaves out.
cd /usr/local/lib/hive/hive_container
sed -i 's/^        show_to_pg_dump(server)/        pass/' extensions.py
rm -rf __pycache__
cd /usr/share/postgresql/17/extension
setpriv --reuid=1000 --regid=1000 --clear-groups \
    /usr/lib/postgresql/current/bin/pg_resetwal -o 14500 /tmp/cluster
for database in template1 hive_app; do
    printf '%s\n' 'DROP EXTENSION vector' 'CREATE EXTENSION vector' |
        setpriv --reuid=1000 --regid=1000 --clear-groups \
        /usr/lib/postgresql/current/bin/postgres --single -D /tmp/cluster $database > /tmp/said 2>&1
    if grep ERROR /tmp/said; then exit 1; fi
done
rm -rf $cluster vector--0.8.0.sql vector--0.7.4--0.8.0.sql
mv /tmp/cluster $cluster
chmod -R a+rX $cluster
SH
USER 1000:1000"#;

#[test]
#[ignore = "needs an engine"]
fn an_older_pgvector_gets_the_sql_of_the_newer_one() {
    let older = Variant::build("older-pgvector", OLDER_PGVECTOR);
    let upgraded = |name, lines: &str| {
        let state = tempfile::tempdir().unwrap();
        let newer = Variant::build(name, lines);
        let mut subject = newer.subject();
        // What has the release tags is the image before.
        subject.spec.tags = vec![ReleaseTag::parse(&older.tag).unwrap()];
        let only = ["upgrade".to_owned()];
        let report = Report::new(true, false);
        let faults = Faults {
            all: FULL,
            only: &only,
            second_try: true,
        };
        smoke::run_full(&report, state.path(), &newer.resources, &[subject], faults)
            .unwrap()
            .remove(0)
    };
    let verdict = upgraded("newer-pgvector", "LABEL dev.hive.test=newer");
    let detail = &verdict.checks()[0].detail;
    assert!(verdict.passed(), "{detail}");
    for said in [
        "with plpgsql 1.0, vector 0.7.4: healthy",
        "it has plpgsql 1.0, vector 0.8.0",
    ] {
        assert!(detail.contains(said), "{detail}");
    }
    for (name, edit, said) in [
        (
            "stays-behind",
            "sed -i 's/^        elif found.name..version != .*/        elif False:/' extensions.py",
            "extensions of the app's database are behind: vector|0.7.4|0.8.0",
        ),
        (
            "template-behind",
            "sed -i 's/in (server.database, \"template1\"):/in (server.database,):/' extensions.py",
            "extensions of template1 are behind: vector|0.7.4|0.8.0",
        ),
        (
            "left-out-of-dumps",
            "sed -i 's/^        show_to_pg_dump(server)/        pass/' extensions.py",
            "pg_dump after the upgrade: ",
        ),
    ] {
        let verdict = upgraded(name, &without(&[edit]));
        expect_flaws(&verdict, &[("upgrade", said)]);
    }
}
