"""Prints the tables and views of the running cluster with their columns, as JSON."""

import json
import subprocess
import sys

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGCONNECT_TIMEOUT": "10",
}

DATABASES = """
SELECT json_agg(datname ORDER BY datname) FROM pg_database
WHERE datallowconn AND datconnlimit <> -2 AND NOT datistemplate AND datname <> 'postgres'
"""

COLUMNS = """
SELECT coalesce(json_object_agg(name, columns), '{}') FROM (
    SELECT format('%I.%I', n.nspname, c.relname) AS name,
        coalesce(json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END)
            FILTER (WHERE a.attname IS NOT NULL), '{}') AS columns
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
    GROUP BY n.nspname, c.relname) AS tables
"""


def ask(database: str, statement: str) -> object:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    done = subprocess.run(
        [
            *("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement),
            *("-d", f"service=superuser dbname='{quoted}'"),
        ],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout or "null")


def main() -> int:
    try:
        databases = ask("postgres", DATABASES) or []
        print(json.dumps({name: ask(name, COLUMNS) for name in databases}))
    except subprocess.CalledProcessError as error:
        # psql has said why.
        return error.returncode or 1
    return 0


sys.exit(main())
