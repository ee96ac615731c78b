"""Proves an unpacked base backup by starting it: says what was looked at, as JSON.

Runs in a container without network that holds nothing but this copy.
"""

import json
import sys
import time

from copied import Refused, ask, run, served

PGDATA = "/var/lib/postgresql/data/pgdata"

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
    with served(PGDATA):
        databases = "SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn"
        databases = json.loads(ask("postgres", databases))
        for database in databases:
            inspect(database, proof)
        # The extension comes into this copy alone.
        run(["pg_amcheck", "--all", "--heapallindexed", "--install-missing"], "pg_amcheck")
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
