"""Makes indexes again that were put in order by other collations than those of this image."""

import json

from copied import Refused, ask
from hive_container import image

#: One that was half dropped lets nobody in, and has nothing any more. An owner may have closed
#: another one, which is somebody's data as before.
DATABASES = """
SELECT json_agg(json_build_array(datname, datallowconn) ORDER BY datname) FROM pg_database
WHERE datname <> 'template0' AND datconnlimit <> -2
"""

#: What was put in order by collations that sort otherwise here than where they were used: indexes,
#: and bounds of partitions. A column without an index has no order. Of the database's own collation
#: its version is kept with the database.
SORTED = """
WITH own AS (
    SELECT datcollversion <> pg_database_collation_actual_version(oid) AS is_moved FROM pg_database
    WHERE datname = current_database()),
used AS MATERIALIZED (
    SELECT unnest(indcollation) AS number FROM pg_index
    UNION SELECT unnest(partcollation) FROM pg_partitioned_table),
moved AS MATERIALIZED (
    SELECT oid AS number, collname, collprovider FROM pg_collation JOIN used ON number = oid, own
    WHERE collprovider = 'd' AND is_moved OR collprovider IN ('c', 'i')
        AND collname NOT IN ('C', 'POSIX', 'C.utf8')
        AND collversion IS DISTINCT FROM pg_collation_actual_version(oid)),
sorted AS (
    SELECT indexrelid, moved.* FROM pg_index JOIN pg_class c ON c.oid = indexrelid,
        unnest(indcollation) AS one JOIN moved ON number = one
    WHERE relkind = 'i' AND relpersistence <> 't' AND indisvalid)
SELECT json_build_object(
    'bounds', (SELECT coalesce(string_agg(DISTINCT collname, ', '), '')
        FROM pg_partitioned_table, unnest(partcollation) AS one JOIN moved ON number = one),
    'indexes', (SELECT coalesce(json_agg(DISTINCT indexrelid::regclass::text), '[]') FROM sorted),
    'collations', (SELECT coalesce(json_agg(DISTINCT number::regcollation::text), '[]')
        FROM sorted WHERE collprovider <> 'd'),
    'database', (SELECT coalesce(is_moved, false) FROM own))
"""

#: So many indexes are told by name.
MOST = 10


def tell_made_again(indexes: list[str]) -> None:
    """A line, where there are any."""
    if not indexes:
        return
    count = "1 index" if len(indexes) == 1 else f"{len(indexes)} indexes"
    more = f" and {len(indexes) - MOST} more" if indexes[MOST:] else ""
    names = ", ".join(indexes[:MOST])
    print(f"made {count} again, whose text this image sorts otherwise: {names}{more}")


def mend_collations() -> list[str]:
    """Makes indexes again that are of another order than this image's, and says which. Nobody uses
    the cluster yet; where rows would have to go to another partition it is refused."""
    other, made_again = [], []
    for database, is_open in json.loads(ask("postgres", DATABASES)):
        name = image.identifier(database)
        if not is_open:
            ask("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        found = json.loads(ask(database, SORTED))
        if not found["bounds"]:
            sort_again(database, found)
            made_again += [f"{index} (database {database})" for index in found["indexes"]]
        if not is_open:
            ask("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        other += [f"{found['bounds']} (database {database})"] if found["bounds"] else []
    if other:
        raise Refused(
            "collations sort otherwise in this image than where partitions were made by them:"
            f" {', '.join(other)}"
        )
    return made_again


def sort_again(database: str, found: dict) -> None:
    for index in found["indexes"]:
        ask(database, f"REINDEX INDEX {index}")
    for collation in found["collations"]:
        ask(database, f"ALTER COLLATION {collation} REFRESH VERSION")
    if found["database"]:
        ask("postgres", f"ALTER DATABASE {image.identifier(database)} REFRESH COLLATION VERSION")
