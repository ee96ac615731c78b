"""Prints a dump of the app's database, by one snapshot: one compressed tar archive.

    hive-backup.json        what it is of, and what has to be there before the dump is loaded
    database.dump/00000     the dump in pg_dump's custom format, in pieces (`tar -xO` joins them)
    roles.sql               all roles, without passwords
    hive-files/             the app's folders, where it has some on the volume

An archive says how long a file is before its content comes, and nobody knows that of a dump: in
pieces it takes no room in the container. Its argument is what is known of the backup, as JSON.
"""

import json
import os
import subprocess
import sys

import dumped
import files

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import cluster, image, settings, volume

PGDATA = "/var/lib/postgresql/data/pgdata"
BIN = "/usr/lib/postgresql/current/bin"

#: The superuser reads a database that is the app's, and values are written as they are compared.
OPTIONS = settings.of_the_start(cluster.major_version(volume.PREPARED)) | dumped.AS_TEXT

ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/bin:/bin",
    "LC_ALL": "C",
    "PGHOST": image.RUN,
    "PGPORT": str(image.DATABASE_PORT),
    "PGUSER": image.SUPERUSER,
    "PGPASSFILE": volume.SUPERUSER_PASSFILE,
    "PGCONNECT_TIMEOUT": "10",
    "PGOPTIONS": settings.as_options(OPTIONS),
}

PIECE = 4 << 20

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"

#: `jsonb`, since an answer has to be one line. Roles of PostgreSQL's own have lower numbers.
PLAN = """
SELECT jsonb_build_object(
    'name', current_database(),
    'snapshot', pg_export_snapshot(),
    'extensions', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', extname,
            'version', extversion, 'schema', nspname) ORDER BY x.oid), '[]')
        FROM pg_extension x JOIN pg_namespace n ON n.oid = extnamespace
        WHERE extname <> 'plpgsql'),
    'role', {role},
    'roles', (SELECT coalesce(jsonb_agg(rolname ORDER BY rolname), '[]') FROM pg_roles
        WHERE oid >= 16384 AND rolname NOT IN ({role}, {metrics})),
    'settings', ({settings}),
    'marker', EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'hive_image' AND n.nspowner = 10 AND relname = 'initial_sql'));
"""

RAN = "SELECT EXISTS (SELECT FROM hive_image.initial_sql);"


class Failed(Exception):
    """A program has ended with this code, and has said why."""


def named(database: str) -> str:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}'"


class Snapshot:
    """A session that sees the database as it is now, for as long as it is open."""

    def __init__(self, database: str):
        self.session = subprocess.Popen(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", named(database)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *statements: str) -> str:
        print(*statements, sep="\n", file=self.session.stdin, flush=True)
        answer = self.session.stdout.readline().strip()
        if not answer:
            raise Failed(self.session.wait() or 1)
        return answer

    def end(self) -> None:
        if self.session.poll() is not None:
            print("the session with the snapshot has ended meanwhile", file=sys.stderr)
            raise Failed(1)
        self.session.communicate()


def plan_of(spec: image.Image, snapshot: Snapshot) -> dict:
    role, metrics = image.literal(spec.role), image.literal(image.METRICS_ROLE)
    own = dumped.SETTINGS.format(role=role, database="current_database()")
    asked = PLAN.format(role=role, metrics=metrics, settings=own)
    plan = json.loads(snapshot.ask(BEGIN, asked))
    plan["ran"] = plan["marker"] and snapshot.ask(RAN) == "t"
    return plan


def command_of(plan: dict) -> list[str]:
    # With `--create` the settings of the database are in it; only who wants them gets them.
    how = ["--format=custom", "--compress=none", "--create", "--encoding=UTF8", "--no-password"]
    ours = ["--exclude-schema=hive_image"] if plan["marker"] else []
    return ["pg_dump", *how, *ours, f"--snapshot={plan['snapshot']}", named(plan["name"])]


def add_dump(archive: files.Archive, plan: dict) -> None:
    program = subprocess.Popen(
        command_of(plan), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        number = 0
        while piece := program.stdout.read(PIECE):
            files.add_content(archive, f"{dumped.IN_A_BACKUP}/{number:05}", piece)
            number += 1
    finally:
        # It ends when nobody reads it any more.
        program.stdout.close()
        code = program.wait()
    if code:
        raise Failed(code)


def roles() -> bytes:
    command = ["pg_dumpall", "--roles-only", "--no-role-passwords", "--no-password"]
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise Failed(done.returncode)
    return done.stdout


def add_all(archive: files.Archive, known: dict) -> None:
    snapshot = Snapshot(known["databases"][0]["name"])
    plan = plan_of(image.load(dict(os.environ)), snapshot)
    text = json.dumps(known | {"dump": plan}, indent=2) + "\n"
    files.add_content(archive, dumped.NOTE, text.encode())
    add_dump(archive, plan)
    # Whoever owns something in the dump was there before it.
    files.add_content(archive, "roles.sql", roles())
    snapshot.end()
    if home := files.of_cluster(PGDATA):
        files.add_all(archive, home)


def main() -> int:
    # The app's requests come first.
    os.nice(10)
    target = files.Zstd(sys.stdout.buffer)
    try:
        archive = files.archive_on(target)
        add_all(archive, json.loads(sys.argv[1]))
        archive.close()
        target.close()
    except Failed as error:
        code = error.args[0]
        # A signal is no exit code.
        return code if code > 0 else 1
    except (OSError, image.Fatal) as error:
        print(getattr(error, "strerror", None) or error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
