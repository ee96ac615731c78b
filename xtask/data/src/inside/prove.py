"""Proves an unpacked base backup by starting it: says what was looked at, as JSON.

Runs in a container without network that holds nothing but this copy, which may be changed in any
way. The superuser asks catalogs and programs of PostgreSQL's own. What reads tables is asked by a
role that may do nothing but read: to plan and to run it, PostgreSQL calls functions of the app's
(those of indexes and of their predicates). What such a function makes fail is not asked, and told:
one that finds its names by a search_path works for the app alone, and its table is whole.
"""

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import files
from copied import (
    ENVIRONMENT,
    MAJOR,
    NOT_SYNCED,
    OF_THE_MACHINE,
    Refused,
    ask,
    ended,
    psql,
    run,
    served,
    settings,
    watched,
    whose_fault,
)
from hive_container import image

PGDATA = "/var/lib/postgresql/data/pgdata"

#: What the cluster said of itself when the backup began.
NOTE = "hive-backup.json"

#: The copy lives no longer than this.
NOT_KEPT = NOT_SYNCED | {"full_page_writes": "off", "max_wal_size": "128MB"}

#: Nobody has this one.
READER = f"hive_reader_{secrets.token_hex(4)}"

AS_READER = ENVIRONMENT | {
    "PGUSER": READER,
    "PGOPTIONS": settings.as_options(
        settings.of_any_session(MAJOR)
        | {
            "default_transaction_read_only": "on",
            "local_preload_libraries": "",
            "max_parallel_workers_per_gather": "0",
            "role": "none",
            "search_path": "pg_catalog,pg_temp",
            "standard_conforming_strings": "on",
        }
    ),
}

#: One that was half dropped lets nobody in, and has nothing any more. An owner may have closed
#: another one, which is looked at as they all are.
OPENED = "datname <> 'template0' AND datconnlimit <> -2"

#: Row security is no matter of a backup. Where a function is not everybody's, its table's owner may
#: call it; an owner who could become the superuser lends nothing.
MAKE_READER = (
    f"CREATE ROLE {READER} LOGIN BYPASSRLS",
    f"GRANT pg_read_all_data TO {READER}",
    f"""DO $$ DECLARE one name; BEGIN
    FOR one IN SELECT rolname FROM pg_roles r WHERE r.oid >= 16384 AND rolname <> '{READER}' AND
        NOT EXISTS (SELECT FROM pg_roles s WHERE rolsuper AND pg_has_role(r.oid, s.oid, 'MEMBER'))
    LOOP EXECUTE format('GRANT %I TO {READER}', one); END LOOP;
    FOR one IN SELECT datname FROM pg_database WHERE {OPENED} LOOP
        EXECUTE format('ALTER DATABASE %I ALLOW_CONNECTIONS true', one);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO {READER}', one);
        EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT -1', one);
    END LOOP;
    END $$""",
)

#: What was prepared and never ended is neither there nor gone, and nobody waits for its locks.
PREPARED = """
SELECT coalesce(json_agg(format('ROLLBACK PREPARED %L', gid)), '[]') FROM pg_prepared_xacts
WHERE database = current_database()
"""

#: Sequences that belong to a column of a table, or that its default takes the next value of, and
#: where that stands. One that counts down or goes round may well stand behind. A view may own one,
#: too, and would run code of its author.
SEQUENCES = """
WITH used AS (
    SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS place
    FROM pg_depend d WHERE d.deptype IN ('a', 'i') AND d.refobjsubid > 0
        AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    UNION
    SELECT d.refobjid, a.adrelid, a.adnum
    FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
        -- A value that something is made of may stand anywhere.
        AND pg_get_expr(a.adbin, a.adrelid) =
            format('nextval(%L::regclass)', d.refobjid::regclass::text))
SELECT coalesce(json_agg(json_build_array(s.seqrelid::int8, s.seqrelid::regclass::text,
    t.oid::regclass::text, quote_ident(a.attname)) ORDER BY s.seqrelid), '[]')
FROM used JOIN pg_sequence s ON s.seqrelid = used.sequence
JOIN pg_attribute a ON a.attrelid = used.relation AND a.attnum = used.place
JOIN pg_type type ON type.oid = a.atttypid
    AND coalesce(nullif(type.typbasetype, 0), type.oid)
        IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
JOIN pg_class t ON t.oid = used.relation AND t.relkind IN ('r', 'p')
WHERE s.seqincrement > 0 AND NOT s.seqcycle
"""

#: Part of a table is a foreign one, and nobody is there to answer for it.
REMOTE = """
WITH RECURSIVE part (oid) AS (
    SELECT {table}::regclass::oid
    UNION SELECT inhrelid FROM pg_inherits JOIN part ON inhparent = part.oid)
SELECT to_json(EXISTS (SELECT FROM part JOIN pg_class USING (oid) WHERE relkind = 'f'))
"""

#: By the row whose value the sequence gives next, or has given: null where it is ahead of all rows.
BEHIND = """
SELECT CASE WHEN (SELECT max({column}) FROM {table}) > place THEN place END FROM (
    SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS place FROM {sequence}
) AS hive_sequence
"""

#: Those of PostgreSQL's usual kind whose entries are made by functions.
OF_FUNCTIONS = """
SELECT coalesce(json_agg(json_build_array(i.indexrelid::int8, i.indexrelid::regclass::text,
    c.relnamespace::regnamespace::text, quote_ident(c.relname)) ORDER BY i.indexrelid), '[]')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
    AND c.relpersistence = 'p'
JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
WHERE i.indisvalid AND i.indisready AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
"""

#: Where amcheck is.
AMCHECK = "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'amcheck'"

#: All indexes that can be used, those of tables before those of PostgreSQL's own. Of the operators
#: that each first column answers: one that a value may have to itself, and the one for neighbours.
INDEXES = """
SELECT coalesce(json_agg(json_build_object(
    'oid', i.indexrelid::int8, 'index', i.indexrelid::regclass::text, 'name', c.relname,
    'table', i.indrelid::regclass::text, 'blocks', pg_relation_size(t.oid) / 8192,
    'kind', am.amname, 'own', t.oid >= 16384 AND t.relkind <> 't',
    'key', pg_get_indexdef(i.indexrelid, 1, true),
    'where', coalesce(pg_get_expr(i.indpred, i.indrelid), 'true'),
    'itself', (SELECT json_build_array(format('OPERATOR(%I.%s)', n.nspname, o.oprname),
            ao.amoprighttype = 'tsquery'::regtype)
        FROM pg_amop ao JOIN pg_operator o ON o.oid = ao.amopopr
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE ao.amopfamily = oc.opcfamily AND ao.amoppurpose = 's'
            AND ao.amoplefttype = oc.opcintype
            AND ao.amoprighttype IN (oc.opcintype, 'tsquery'::regtype)
            AND o.oprname IN ('=', '@>', '&&', '~=', '@@', '%')
        ORDER BY array_position(ARRAY['=', '@>', '&&', '~=', '@@', '%'], o.oprname::text) LIMIT 1),
    'nearest', (SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
        FROM pg_amop ao JOIN pg_operator o ON o.oid = ao.amopopr
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE ao.amopfamily = oc.opcfamily AND ao.amoppurpose = 'o'
            AND ao.amoplefttype = oc.opcintype LIMIT 1)
    ) ORDER BY t.oid < 16384, i.indexrelid), '[]')
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
JOIN pg_am am ON am.oid = c.relam
-- A materialized view without data is not asked for any.
JOIN pg_class t ON t.oid = i.indrelid AND t.relpersistence = 'p' AND t.relkind IN ('r', 'm', 't')
    AND t.relispopulated
JOIN pg_opclass oc ON oc.oid = i.indclass[0]
WHERE i.indisvalid AND i.indisready
"""

#: Each of them leads to all rows of its table, by its own account.
OF_ALL_ROWS = ("btree", "gist", "spgist")

#: These lead to some of the nearest.
OF_NEIGHBOURS = ("hnsw", "ivfflat")

#: The planner sees one index of a table at a time, so that no other one answers in its place.
SHOW = """
UPDATE pg_index SET indisvalid = indexrelid = ANY ('{{{shown}}}'),
    indisready = indexrelid = ANY ('{{{ready}}}') WHERE indexrelid = ANY ('{{{all}}}')
"""

#: So many names or numbers are told in one statement.
IN_ONE = 300

#: So much is told to one program, in bytes.
ARGUMENTS = 1 << 19

EXPLAIN = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON)"

#: Nothing but these ways may be taken, whatever the database says.
BY_TABLE = (
    "SET enable_seqscan = on",
    "SET enable_indexscan = off",
    "SET enable_indexonlyscan = off",
    "SET enable_bitmapscan = off",
)
BY_INDEX = (
    "SET enable_seqscan = off",
    "SET enable_tidscan = off",
    "SET enable_indexscan = on",
    "SET enable_indexonlyscan = on",
    "SET enable_bitmapscan = on",
)

ROWS = "{explain} SELECT FROM ONLY {table} WHERE {where}"

#: Some rows of all over the table that the index does not find by their own values.
LOST = """
{explain} WITH hive_sample AS MATERIALIZED (
    SELECT place, v, {asked} AS asked FROM (SELECT ctid AS place, {key} AS v FROM ONLY {table}
        TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1) WHERE {where}) AS hive_all
    WHERE v IS NOT NULL ORDER BY hashtid(place) LIMIT 20)
SELECT FROM hive_sample WHERE v {operator} asked AND (SELECT count(*) FROM ONLY {table}
    WHERE {key} {operator} hive_sample.asked AND ({where}) AND ctid = hive_sample.place) = 0
"""

#: A document is asked for one of its words.
WORD = r"""('''' || replace(replace((tsvector_to_array(v))[1], '\', '\\'), '''', '''''')
    || '''')::tsquery"""

#: Which rows an index finds is its own business: that it finds one, and none that is nearer than
#: the nearest, is not.
NEAREST = """
WITH hive_one AS MATERIALIZED (SELECT {key} AS v FROM ONLY {table}
    WHERE {key} IS NOT NULL AND ({where}) LIMIT 1)
SELECT coalesce((SELECT {key} {nearest} (SELECT v FROM hive_one) FROM ONLY {table}
    WHERE {key} IS NOT NULL AND ({where})
    ORDER BY {key} {nearest} (SELECT v FROM hive_one) LIMIT 1)::text, 'none')
"""


class AppFailed(Refused):
    """A function of the app's has failed, or what it asks for is not there."""


#: How psql tells the kind of an error, and the classes of those that are no function's doing: of
#: PostgreSQL itself and of damaged data, of what is wanting, of a server that ends, of files.
VERBOSE = ("-v", "VERBOSITY=verbose")
SQLSTATE = re.compile(r"(?:^|: )(?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5}): ", re.MULTILINE)
NO_FUNCTIONS = ("XX", "53", "57", "58")


def of_kind(error: Refused) -> Refused:
    """The same error, as the app's where it is."""
    states = SQLSTATE.findall(str(error))
    is_apps = bool(states) and not any(state.startswith(NO_FUNCTIONS) for state in states)
    return AppFailed(str(error)) if is_apps else error


def told_apart(database: str, environment: Mapping[str, str], *statements: str) -> str:
    try:
        command = [*psql(database), *VERBOSE, *psql(database, *statements)[len(psql(database)) :]]
        return run(command, f"database {database}", environment)
    except Refused as error:
        raise of_kind(error) from None


def read(database: str, *statements: str) -> str:
    return told_apart(database, AS_READER, *statements)


def in_parts(some: list, most: int, size: Callable[[Any], int] = lambda _: 1) -> list[list]:
    """Parts of a list, none bigger than this but one of a single entry: the kernel takes no
    argument above 128 KiB, and of all arguments no more than it has room for."""
    parts: list[list] = []
    room = 0
    for one in some:
        if size(one) > room:
            parts.append([])
            room = most
        parts[-1].append(one)
        room -= size(one)
    return parts


def plans(database: str, how: tuple[str, ...], asked: list[tuple[str, str]]) -> list[dict | None]:
    """Plans that were carried out, of pairs of what is asked and the statement; None where the
    app's own function has failed. Many in a session: to begin one takes longer than most of
    them."""
    found: list[dict | None] = []
    parts = in_parts(asked, ARGUMENTS, lambda one: len(one[1].encode()) + ARGUMENTS // 100)
    while parts:
        part = parts.pop(0)
        command = [*psql(database, *how, *(statement for _, statement in part)), *VERBOSE]
        program = subprocess.Popen(
            command, env=AS_READER, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1
        )
        out, err = watched(program, f"database {database}")
        done = documents(out.decode(errors="replace"))
        found += [document[0]["Plan"] for document in done]
        if program.returncode != 0:
            is_inside = len(done) < len(part)
            what = part[len(done)][0] if is_inside else "its end"
            said = err.decode(errors="replace").strip()
            error = Refused(f"database {database}: {what}: {said[-2000:] or ended(program)}")
            if not (is_inside and isinstance(of_kind(error), AppFailed)):
                raise error
            found.append(None)
            parts = [part[len(done) + 1 :], *parts] if part[len(done) + 1 :] else parts
    return found


def documents(text: str) -> list[Any]:
    """JSON documents that stand one after the other."""
    decoder, place, all_of_them = json.JSONDecoder(), 0, []
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        document, place = decoder.raw_decode(text, place)
        all_of_them.append(document)
    return all_of_them


def nodes(plan: dict) -> list[dict]:
    return [plan] + [node for part in plan.get("Plans", []) for node in nodes(part)]


def uses(plan: dict, index: dict) -> bool:
    return any(node.get("Index Name") == index["name"] for node in nodes(plan))


def rounds(indexes: list[dict]) -> list[list[dict]]:
    """One index of each table at a time."""
    of_tables: dict[str, list[dict]] = {}
    for index in indexes:
        of_tables.setdefault(index["table"], []).append(index)
    longest = max(map(len, of_tables.values()), default=0)
    return [[some[n] for some in of_tables.values() if n < len(some)] for n in range(longest)]


def show(database: str, own: list[dict], shown: list[dict], ready: list[dict]) -> None:
    def numbers(indexes: list[dict], of: set[int]) -> str:
        return ",".join(str(index["oid"]) for index in indexes if index["oid"] in of)

    which = [{index["oid"] for index in indexes} for indexes in (shown, ready, own)]
    for part in in_parts(own, IN_ONE):
        texts = (numbers(part, of) for of in which)
        names = ("shown", "ready", "all")
        ask(database, SHOW.format(**dict(zip(names, texts, strict=True))))


def positions_noted(folder: str) -> dict[str, dict[str, int]]:
    """Where each sequence stood when the backup began, by database and number. A copy of what was
    loaded from a dump has no such note: each row and each position was compared before."""
    try:
        with open(f"{folder}/{NOTE}", encoding="utf-8") as file:
            return json.load(file).get("sequences", {})
    except FileNotFoundError:
        return {}


def inspect_sequences(database: str, noted: dict[str, int], proof: dict) -> None:
    """Somebody may have written a row with a value of his own, ahead of the sequence: a good copy
    has that, too. No sequence goes back by itself."""
    for number, sequence, table, column in json.loads(ask(database, SEQUENCES)):
        if json.loads(ask(database, REMOTE.format(table=image.literal(table)))):
            proof["not_asked"].append(sequence)
            continue
        try:
            found = read(database, BEHIND.format(sequence=sequence, table=table, column=column))
        except AppFailed:
            proof["not_asked"].append(sequence)
            continue
        if not found:
            proof["sequences"] += 1
            continue
        place, stood = int(found), noted.get(str(number))
        said = f"{sequence} is behind {table}.{column}"
        if stood is not None and place < stood:
            raise Refused(
                f"database {database}: {said}: it stands at {place}, and stood at {stood}"
            )
        proof["behind"].append(f"{said} (database {database})")


def inspect_indexes(database: str, proof: dict) -> None:
    indexes = json.loads(ask(database, INDEXES))
    own = [index for index in indexes if index["own"]]
    of_all_rows = [index for index in indexes if index["kind"] in OF_ALL_ROWS]
    for turn in rounds([index for index in own if index["kind"] not in OF_ALL_ROWS]):
        show(database, own, turn, own)
        ask_for_neighbours(database, turn, proof)
        ask_for_samples(database, turn, proof)
    # The others would only take their time to be cleaned up; and to count, none is wanted: the
    # planner may call the function of each one that it sees.
    of_tables = [index for index in of_all_rows if index["own"]]
    show(database, own, [], of_tables)
    rows = count_rows(database, of_all_rows)
    # PostgreSQL needs all of its own at any time. What is shown changes one of their tables.
    theirs = [index for index in of_all_rows if not index["own"] and index["where"] == "true"]
    ask_for_all_rows(database, list({one["table"]: one for one in theirs}.values()), rows, proof)
    for turn in rounds(of_tables):
        show(database, own, turn, of_tables)
        ask_for_all_rows(database, turn, rows, proof)


def ask_for_neighbours(database: str, indexes: list[dict], proof: dict) -> None:
    for index in indexes:
        if index["kind"] not in OF_NEIGHBOURS or not index["nearest"]:
            continue
        try:
            plan = json.loads(read(database, *BY_INDEX, f"EXPLAIN (FORMAT JSON) {question(index)}"))
            is_used = uses(plan[0]["Plan"], index)
            if is_used:
                compare(database, index)
        except AppFailed:
            is_used = False
        if is_used:
            proof["vector_indexes"] += 1
        else:
            proof["not_asked"].append(index["index"])


def question(index: dict) -> str:
    return NEAREST.format(**index)


def compare(database: str, index: dict) -> None:
    name = index["index"]
    nearest = read(database, *BY_TABLE, question(index))
    # Of a vector of zeros no cosine is known, and no index has it.
    if nearest in ("none", "NaN"):
        return
    by_index = read(database, *BY_INDEX, question(index))
    if by_index == "none":
        # Rows that are deleted and not yet cleaned up may take all places of a search.
        ask(database, f"VACUUM {index['table']}")
        by_index = read(database, *BY_INDEX, question(index))
    if by_index == "none":
        raise Refused(f"database {database}: {name} finds no row, and {index['table']} has some")
    if float(by_index) < float(nearest) - abs(float(nearest)) * 1e-4 - 1e-6:
        raise Refused(f"database {database}: {name} finds a row nearer than the nearest")


def ask_for_samples(database: str, indexes: list[dict], proof: dict) -> None:
    """Rows of all over a table, by the values that they have."""
    asked = []
    for index in indexes:
        if index["kind"] in OF_NEIGHBOURS and index["nearest"]:
            continue
        if not index["itself"]:
            proof["not_asked"].append(index["index"])
            continue
        operator, by_word = index["itself"]
        # Some 32 pages are enough.
        percent = min(100.0, 3200 / max(index["blocks"], 1))
        values = {"operator": operator, "asked": WORD if by_word else "v", "percent": percent}
        asked.append((index, LOST.format(explain=EXPLAIN, **values, **index)))
    statements = [(index["index"], statement) for index, statement in asked]
    for (index, _), plan in zip(asked, plans(database, BY_INDEX, statements), strict=True):
        name, lost = index["index"], plan["Actual Rows"] if plan else 0
        if lost:
            raise Refused(
                f"database {database}: {name} does not find {lost:.0f} rows of {index['table']}"
            )
        if plan and uses(plan, index):
            proof["sampled_indexes"] += 1
        else:
            proof["not_asked"].append(name)


def count_rows(database: str, indexes: list[dict]) -> dict[tuple[str, str], float | None]:
    """How many rows each index should lead to, where its condition can be asked. With all cleaned
    up, an index has no more, and PostgreSQL knows of every page that what it leads to is there."""
    tables = list(dict.fromkeys(index["table"] for index in indexes))
    for part in in_parts(tables, IN_ONE):
        ask(database, f"VACUUM (INDEX_CLEANUP ON) {', '.join(part)}")
    wanted = list(dict.fromkeys((index["table"], index["where"]) for index in indexes))
    asked = [
        (table, ROWS.format(explain=EXPLAIN, table=table, where=where)) for table, where in wanted
    ]
    found = plans(database, BY_TABLE, asked)
    return {
        key: plan["Actual Rows"] if plan else None for key, plan in zip(wanted, found, strict=True)
    }


def ask_for_all_rows(database: str, indexes: list[dict], rows: dict, proof: dict) -> None:
    can_be = [index for index in indexes if rows[index["table"], index["where"]] is not None]
    proof["not_asked"] += [index["index"] for index in indexes if index not in can_be]
    asked = [(index["index"], ROWS.format(explain=EXPLAIN, **index)) for index in can_be]
    for index, plan in zip(can_be, plans(database, BY_INDEX, asked), strict=True):
        if plan is None:
            proof["not_asked"].append(index["index"])
            continue
        scans = [node for node in nodes(plan) if node["Node Type"] == "Index Only Scan"]
        if index["own"] and [node["Index Name"] for node in scans] != [index["name"]]:
            proof["not_asked"].append(index["index"])
            continue
        for node in scans:
            wanted = rows[index["table"], index["where"]]
            if why := flaw(node["Actual Rows"], node["Heap Fetches"], wanted):
                name = f"{node['Index Name']} of {index['table']}"
                raise Refused(f"database {database}: {name} {why}")
            proof["indexes"] += 1


def flaw(found: float, looked_up: float, rows: float) -> str | None:
    """What is wrong with an index of a table that was cleaned up: PostgreSQL knows of each page
    that is there what is on it, and only goes to see where there is none."""
    if looked_up or found > rows:
        return f"leads to {max(looked_up, found - rows):.0f} rows that are not there"
    if found < rows:
        return f"leads to {found:.0f} of {rows:.0f} rows"
    return None


def inspect_structure(databases: list[str], proof: dict) -> None:
    """By PostgreSQL's own program, of each database. An index whose function fails is looked at
    without what that function would make of the rows."""
    # The extension comes into this copy alone.
    command = ["pg_amcheck", "--all", "--heapallindexed", "--install-missing"]
    try:
        run(command, "pg_amcheck")
        return
    except Refused:
        failing = [
            (database, *one) for database in databases for one in failing_functions(database)
        ]
        if not failing:
            raise
    names = [(image.identifier(database), *name) for database, _, *name in failing]
    run([*command, *(f"--exclude-index={'.'.join(name)}" for name in names)], "pg_amcheck")
    proof["not_asked"] += [index for _, index, *_ in failing]


def failing_functions(database: str) -> list[tuple[str, str, str]]:
    """Indexes that are well built, and whose function fails: each as told, and as schema and
    name."""
    found = []
    where = ask(database, AMCHECK)
    for number, index, schema, name in json.loads(ask(database, OF_FUNCTIONS)):
        check = f"SELECT {where}.bt_index_check({number}::oid::regclass, {{}})"
        try:
            told_apart(database, ENVIRONMENT, check.format("true"))
        except AppFailed:
            told_apart(database, ENVIRONMENT, check.format("false"))
            found.append((index, schema, name))
    return found


def prove() -> dict:
    began = time.monotonic()
    proof: dict = {"sequences": 0, "vector_indexes": 0, "indexes": 0, "sampled_indexes": 0}
    proof["not_asked"], proof["behind"] = [], []
    with served(PGDATA, NOT_KEPT):
        proof["app_files"] = files.count(PGDATA)
        noted = positions_noted(PGDATA)
        ask("postgres", *MAKE_READER)
        names = f"SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE {OPENED}"
        databases = json.loads(ask("postgres", names))
        for database in databases:
            for statement in json.loads(ask(database, PREPARED)):
                ask(database, statement)
        inspect_structure(databases, proof)
        for database in databases:
            inspect_sequences(database, noted.get(database, {}), proof)
            inspect_indexes(database, proof)
    proof["not_asked"] = list(dict.fromkeys(proof["not_asked"]))
    # The seal has little room.
    for told in ("not_asked", "behind"):
        more = len(proof[told]) - 10
        proof[told][10:] = [f"{more} more"] if more > 0 else []
    proof["databases"] = len(databases)
    proof["took_ms"] = round((time.monotonic() - began) * 1000)
    return proof


def main() -> int:
    try:
        print(json.dumps(prove()))
    except Refused as error:
        print(error, file=sys.stderr)
        return whose_fault(error, PGDATA)
    except OSError as error:
        print(f"{error.filename or PGDATA}: {error.strerror}", file=sys.stderr)
        return OF_THE_MACHINE
    return 0


if __name__ == "__main__":
    sys.exit(main())
