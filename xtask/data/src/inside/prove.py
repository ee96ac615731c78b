"""Proves an unpacked base backup by starting it: says what was looked at, as JSON.

Runs in a container without network that holds nothing but this copy.
"""

import json
import subprocess
import sys
import time

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import cluster, settings, volume

PGDATA = "/var/lib/postgresql/data/pgdata"
RUN = "/run/hive"
BIN = "/usr/lib/postgresql/current/bin"
LOG = f"{RUN}/postgresql.log"

ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/bin:/bin",
    "LC_ALL": "C",
    "PGHOST": RUN,
    "PGPORT": "5432",
    "PGUSER": "postgres",
    "PGCONNECT_TIMEOUT": "10",
    # The copy holds whatever the app's role has put into its database, and this is the superuser:
    # nothing of it may answer in place of PostgreSQL's own (CVE-2018-1058), or say what is proved.
    "PGOPTIONS": settings.as_options(settings.of_the_start(cluster.major_version(volume.PREPARED))),
}

#: What the backup says of its own server is not for this one: where it listens, whom it lets in,
#: where its log goes. `ALTER SYSTEM` is in the copy, and does not win over these.
SETTINGS = {
    "config_file": "/etc/hive/postgresql.conf",
    "hba_file": f"{RUN}/proof_hba.conf",
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_directories": RUN,
    "archive_mode": "off",
    "autovacuum": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "default_transaction_read_only": "off",
}

#: Sequences that belong to a column of a table, and where that stands. One that counts down or
#: goes round may well stand behind. A view may own one, too, and would run code of its author.
SEQUENCES = """
SELECT coalesce(json_agg(json_build_array(
    s.seqrelid::regclass::text, d.refobjid::regclass::text, quote_ident(a.attname))), '[]')
FROM pg_sequence s
JOIN pg_depend d ON d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
    AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p')
WHERE d.refobjsubid > 0 AND s.seqincrement > 0 AND NOT s.seqcycle
"""

BEHIND = """
SELECT coalesce((SELECT max({column}) FROM {table}) >
    (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {sequence}), false)
"""

#: Indexes for nearest neighbours of plain columns, with the operator that each one answers.
VECTORS = """
SELECT coalesce(json_agg(json_build_array(i.indexrelid::regclass::text, i.indrelid::regclass::text,
    quote_ident(a.attname), op.oprname, opn.nspname)), '[]')
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('hnsw', 'ivfflat')
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN pg_opclass oc ON oc.oid = i.indclass[0]
JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoppurpose = 'o'
    AND ao.amoplefttype = oc.opcintype
JOIN pg_operator op ON op.oid = ao.amopopr
JOIN pg_namespace opn ON opn.oid = op.oprnamespace
WHERE i.indpred IS NULL AND i.indisvalid
"""

#: Which rows an index finds is its own business: that it finds one, and none that is nearer than
#: the nearest, is not.
NEAREST = """
SET enable_seqscan = {table_scan};
SET enable_indexscan = {index_scan};
SET enable_indexonlyscan = {index_scan};
WITH one AS MATERIALIZED (SELECT {column} AS v FROM {table} WHERE {column} IS NOT NULL LIMIT 1)
SELECT coalesce((SELECT {column} OPERATOR({schema}.{operator}) (SELECT v FROM one) FROM {table}
    WHERE {column} IS NOT NULL
    ORDER BY {column} OPERATOR({schema}.{operator}) (SELECT v FROM one) LIMIT 1)::text, 'none')
"""


#: What pg_controldata says of a server that has ended as it should.
STATE = "Database cluster state: shut down"


class Refused(Exception):
    """Why this is no backup."""


def run(command: list[str], what: str) -> str:
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Refused(f"{what}: {said[-2000:] or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace").strip()


def ask(database: str, statement: str) -> str:
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", f"dbname='{quoted}'", "-c", statement],
        f"database {database}",
    )


def started() -> subprocess.Popen:
    """The server on the copy, once it takes connections: it has come to a consistent state."""
    with open(SETTINGS["hba_file"], "w", encoding="utf-8") as file:
        # Nobody else is here.
        file.write("local all all trust\n")
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    with open(LOG, "wb") as log:
        server = subprocess.Popen(
            ["postgres", "-D", PGDATA, *options],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    while server.poll() is None:
        ready = subprocess.run(["pg_isready", "-q"], env=ENVIRONMENT, check=False)
        if ready.returncode == 0:
            return server
        time.sleep(0.05)
    raise Refused(f"PostgreSQL does not start from it: {log_tail()}")


def log_tail() -> str:
    with open(LOG, encoding="utf-8", errors="replace") as file:
        return file.read()[-2000:].strip()


def stopped(server: subprocess.Popen) -> None:
    run(["pg_ctl", "stop", "-D", PGDATA, "-m", "fast", "-w"], "PostgreSQL does not stop")
    server.wait()
    control = run(["pg_controldata", PGDATA], "pg_controldata")
    if not any(line.split() == STATE.split() for line in control.splitlines()):
        raise Refused("PostgreSQL did not shut down cleanly")


def inspect(database: str, proof: dict) -> None:
    for sequence, table, column in json.loads(ask(database, SEQUENCES)):
        if ask(database, BEHIND.format(sequence=sequence, table=table, column=column)) == "t":
            raise Refused(f"database {database}: {sequence} is behind {table}.{column}")
        proof["sequences"] += 1
    for index, table, column, operator, schema in json.loads(ask(database, VECTORS)):
        names = {"table": table, "column": column, "operator": operator, "schema": schema}
        exact = NEAREST.format(table_scan="on", index_scan="off", **names)
        found = NEAREST.format(table_scan="off", index_scan="on", **names)
        compare(database, index, table, exact, found)
        proof["vector_indexes"] += 1


def compare(database: str, index: str, table: str, exact: str, found: str) -> None:
    nearest = ask(database, exact)
    # Of a vector of zeros no cosine is known, and no index has it.
    if nearest in ("none", "NaN"):
        return
    by_index = ask(database, found)
    if by_index == "none":
        # Rows that are deleted and not yet cleaned up may take all places of a search.
        ask(database, f"VACUUM {table}")
        by_index = ask(database, found)
    if by_index == "none":
        raise Refused(f"database {database}: {index} finds no row, and {table} has some")
    if float(by_index) < float(nearest) - abs(float(nearest)) * 1e-4 - 1e-6:
        raise Refused(f"database {database}: {index} finds a row nearer than the nearest")


def prove() -> dict:
    began = time.monotonic()
    proof = {"sequences": 0, "vector_indexes": 0}
    run(["pg_verifybackup", "--quiet", PGDATA], "pg_verifybackup")
    server = started()
    try:
        databases = "SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn"
        databases = json.loads(ask("postgres", databases))
        for database in databases:
            inspect(database, proof)
        # The extension comes into this copy alone.
        run(["pg_amcheck", "--all", "--heapallindexed", "--install-missing"], "pg_amcheck")
        stopped(server)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    proof["databases"] = len(databases)
    proof["took_ms"] = round((time.monotonic() - began) * 1000)
    return proof


def main() -> int:
    try:
        print(json.dumps(prove()))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
