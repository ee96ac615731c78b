"""Says what was written to a generation since it took the place of another one, as JSON.

A row that is there, and was inserted or changed since then, is of a transaction that is not older
than the next one was when the generation was made. Only tables are read whose files have changed
since then. Rows of migrations count as the app's do; what was deleted is not told.

The server runs on the generation itself, since a copy would take as much time and room as the data
have: it lets nobody in, and the rows stay as they are. Tables are read as the app's role: to plan a
question PostgreSQL calls functions of the app's (those of indexes and of their predicates).
"""

import contextlib
import json
import os
import stat
import sys
import time

import files
from copied import ENVIRONMENT, MAJOR, Refused, ask, control_of, serving, settings

MOUNT = "/var/lib/postgresql/data"
GENERATIONS = f"{MOUNT}/generations"
IDENTITY = "hive.json"

#: So many seconds may one table take, and all of them.
LONGEST = 20
BUDGET = 60.0

DATABASES = """
SELECT json_agg(datname ORDER BY datname) FROM pg_database
WHERE datallowconn AND datname <> 'template0' AND datconnlimit <> -2
"""

#: How many transactions there were since one, by its number with the epoch.
SINCE = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric - {made}"

#: Tables of the database's own, and the one that each large object has a row in.
TABLES = """
SELECT coalesce(json_agg(json_build_array(format('%I.%I', nspname, relname),
    pg_relation_filepath(c.oid)) ORDER BY nspname, relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'm') AND relpersistence <> 't'
    AND (c.oid = 'pg_largeobject_metadata'::regclass
        OR (c.oid >= 16384 AND nspname NOT IN ('information_schema', 'hive_image')))
"""

#: A transaction's age counts those since then; the oldest of all are frozen, and older than any.
ROWS = "SELECT count(*) FROM ONLY {table} WHERE age(xmin) BETWEEN 1 AND {since}"


def as_role(role: str) -> dict[str, str]:
    """The environment of a session that has the app's rights, and nothing of its settings."""
    options = settings.of_any_session(MAJOR) | {
        "default_transaction_read_only": "on",
        "local_preload_libraries": "",
        "role": "none",
        "row_security": "off",
        "search_path": "pg_catalog,pg_temp",
        "statement_timeout": f"{LONGEST}s",
    }
    return ENVIRONMENT | {"PGUSER": role, "PGOPTIONS": settings.as_options(options)}


def transaction(text: str) -> int:
    """`EPOCH:NUMBER`, as pg_controldata writes it, as PostgreSQL counts them all."""
    epoch, number = text.split(":")
    return int(epoch) << 32 | int(number)


def has_changed(path: str, since: int) -> bool:
    """Whether a table's first file, or one that goes on with it, was written to since then."""
    part = 0
    while True:
        try:
            if os.stat(f"{path}.{part}" if part else path).st_mtime_ns >= since:
                return True
        except FileNotFoundError:
            return False
        part += 1


def told_apart_by_time(cluster: str, moment: int) -> bool:
    """Whether what was written since then has a later time. A server writes its control file last,
    and may have run after the clock was set back."""
    ended = os.stat(f"{cluster}/global/pg_control").st_mtime_ns
    return moment <= ended and moment <= time.time_ns()


def new_files(home: str | None, since: int) -> int:
    """How many files of the app's folders were written since then."""
    count = 0
    for path in files.all_below(home) if home else ():
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            count += not stat.S_ISDIR(status.st_mode) and status.st_mtime_ns >= since
    return count


def count(cluster: str, made: str, moment: int) -> dict:
    with open(f"{cluster}/{IDENTITY}", encoding="utf-8") as file:
        identity = json.load(file)
    environment, until = as_role(identity["role"]), time.monotonic() + BUDGET
    tables, not_counted = [], []
    told_by_time = told_apart_by_time(cluster, moment)
    # Nobody else runs on it: what a killed server left there is not alive.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{cluster}/postmaster.pid")
    with serving(cluster):
        since = int(ask("postgres", SINCE.format(made=transaction(made))))
        for database in json.loads(ask("postgres", DATABASES)):
            where = "" if database == identity["database"] else f" (database {database})"
            for table, path in json.loads(ask(database, TABLES)):
                if since < 1:
                    continue
                if told_by_time and not has_changed(f"{cluster}/{path}", moment):
                    continue
                try:
                    if time.monotonic() > until:
                        raise Refused(f"all took longer than {BUDGET:.0f} s")
                    statement = ROWS.format(table=table, since=since)
                    rows = int(ask(database, statement, environment=environment))
                except Refused as error:
                    not_counted.append([f"{table}{where}", str(error)])
                else:
                    tables += [[f"{table}{where}", rows]] if rows else []
    tables.sort(key=lambda one: -one[1])
    home = files.of_cluster(cluster)
    return {
        "tables": tables,
        "not_counted": not_counted,
        "files": new_files(home, moment) if told_by_time or not home else None,
    }


def main() -> int:
    cluster = f"{GENERATIONS}/{sys.argv[1]}"
    note = f"{cluster}/{files.RESTORED}"
    try:
        with open(note, encoding="utf-8") as file:
            known = json.load(file)
        # One that did not end well, or that an older tool has made, does not say.
        made, found = known.get("next_transaction"), None
        control = known.get("control")
        if control and control == control_of(cluster):
            # No server has run on it, and no app.
            found = {"tables": [], "not_counted": [], "files": 0}
        elif made:
            found = count(cluster, made, os.stat(note).st_mtime_ns)
        print(json.dumps(found))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError) as error:
        print(f"{cluster}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
