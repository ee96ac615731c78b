"""Says what a running cluster is, and leaves that in it as `hive-backup.json`.

The file is part of the base backup that follows, and PostgreSQL's manifest covers it. Its first
argument is what is known outside, as JSON; all of it is printed. With `--only-print` behind it no
file is written; nor is there one for a dump, which takes the app's database and no other.
"""

import json
import os
import subprocess
import sys

import files

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import image

PGDATA = "/var/lib/postgresql/data/pgdata"
NOTE = f"{PGDATA}/hive-backup.json"

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGCONNECT_TIMEOUT": "10",
}

OF_THE_CLUSTER = """
SELECT json_build_object(
    'postgres', current_setting('server_version'),
    'major', current_setting('server_version_num')::int / 10000,
    'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'databases', (SELECT json_agg(datname ORDER BY datname)
                  FROM pg_database WHERE datallowconn AND datname <> 'template1'))
"""

#: What a dump of one database does not give back. Roles of PostgreSQL's own have lower numbers.
LEFT_OUT = """
SELECT json_build_object(
    'databases', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
                  WHERE datallowconn AND datname NOT IN ({database}, 'postgres', 'template1')),
    'roles', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_roles
              WHERE oid >= 16384 AND rolname NOT IN ({role}, {metrics})))
"""

#: So many of a kind are told: the seal of a backup has little room.
MOST = 10

OF_A_DATABASE = """
SELECT json_build_object(
    'name', current_database(),
    'bytes', pg_database_size(current_database()),
    'extensions', (SELECT json_object_agg(extname, extversion ORDER BY extname)
                   FROM pg_extension),
    'provider', (SELECT datlocprovider FROM pg_database WHERE datname = current_database()),
    'collations', (SELECT coalesce(json_agg(DISTINCT collname), '[]')
                   FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation
                   WHERE attnum > 0 AND NOT attisdropped AND attrelid >= 16384
                   AND collname NOT IN ('default', 'C', 'POSIX')))
"""


def ask(database: str, statement: str) -> dict:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    connection = f"service=superuser dbname='{quoted}'"
    done = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, "-d", connection],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def left_out(spec: image.Image) -> list[str]:
    names = {"database": spec.database, "role": spec.role, "metrics": image.METRICS_ROLE}
    quoted = {key: image.literal(name) for key, name in names.items()}
    found = ask("postgres", LEFT_OUT.format(**quoted))
    told = [f"database {name} is not in it" for name in found["databases"]]
    told += [
        f"role {name} comes back without login and rights: roles.sql in it has them"
        for name in found["roles"]
    ]
    return told[:MOST] + ([f"and {len(told) - MOST} more"] if told[MOST:] else [])


def keep(text: str) -> None:
    """Whole or not at all, whenever a kill comes."""
    descriptor = os.open(f"{NOTE}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{NOTE}.new", NOTE)


def main() -> int:
    note = json.loads(sys.argv[1])
    is_dump = note["kind"] == "logical"
    try:
        cluster = ask("postgres", OF_THE_CLUSTER)
        if is_dump:
            spec = image.load(dict(os.environ))
            cluster["databases"], note["left_out"] = [spec.database], left_out(spec)
        cluster["databases"] = [ask(name, OF_A_DATABASE) for name in cluster["databases"]]
        note |= cluster
        note["bytes"], note["files"] = 0, 0
        for folder in filter(None, [PGDATA, files.of_cluster(PGDATA)]):
            size, count = files.size_of(folder)
            note["bytes"] += size
            note["files"] += count
        text = json.dumps(note, indent=2) + "\n"
        if not is_dump and "--only-print" not in sys.argv[2:]:
            keep(text)
    except subprocess.CalledProcessError as error:
        # psql has said why.
        return error.returncode or 1
    except OSError as error:
        print(f"{error.filename or NOTE}: {error.strerror}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


sys.exit(main())
