"""What a dump in plain form holds, told so that two of them can be compared.

A table counts as the set of its rows, whatever their order: they are added up. So are the lines
outside of tables, which are positions of sequences and large objects.
"""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

#: In a backup: the dump, in pieces, and what it is of.
IN_A_BACKUP = "database.dump"
NOTE = "hive-backup.json"

#: How values are written, whatever servers and databases say: in both dumps, and where they are
#: read.
AS_TEXT = {
    "bytea_output": "hex",
    "datestyle": "ISO",
    "extra_float_digits": "3",
    "intervalstyle": "postgres",
    "lc_monetary": "C",
    "timezone": "UTC",
    "xmlbinary": "base64",
}

#: What a database and its app's role say of sessions: whether of the role, whether in the database,
#: name and value.
SETTINGS = """
SELECT coalesce(jsonb_agg(jsonb_build_array(setrole <> 0, setdatabase <> 0,
        split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1))
    ORDER BY setrole <> 0, setdatabase <> 0, entry), '[]')
FROM pg_db_role_setting, unnest(setconfig) AS entry
WHERE (setrole, setdatabase) <> (0, 0)
    AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = {role}))
    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = {database}))
"""

#: Ends the line that begins a table.
FROM_HERE = " FROM stdin;\n"

#: Of a text and of a name.
QUOTE = re.compile(rb"['\"]")

#: Ends the rows of a table.
END = b"\\.\n"

#: Comments, a key of psql's that is made at random, and what stands before the first table alone.
OF_THE_DUMP = (b"--", b"\\restrict ", b"\\unrestrict ", b"SET default_")

#: Begins the definition of an object.
ENTRY = re.compile(
    rb"-- Name: (?P<name>.*); Type: (?P<kind>[^;]*); Schema: (?P<schema>.*); Owner: "
)

#: `COPY public."a name" (a, b) FROM stdin;`
COPY = re.compile(
    r'COPY (?P<table>(?:"(?:[^"]|"")*"|[^". ]+)\.(?:"(?:[^"]|"")*"|[^". ]+)) ', re.DOTALL
)

#: A number as COPY writes it.
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

#: Made before all else by whoever restores: extensions, and the schema that all databases have.
NOT_COMPARED = (("EXTENSION", None), ("SCHEMA", "public"))


#: The columns of tables, by schema and name: 4 or 8 bytes of floating-point numbers, or 0.
Floats = Mapping[tuple[str, str], Sequence[int]]


def by_table(floats: list) -> Floats:
    """As `migrate` has them of a server."""
    return {(schema, table): columns for schema, table, columns in floats}


def rows_of(lines: Iterable[bytes], floats: Floats | None = None) -> dict:
    """The tables of a dump of data and all else in it, each with lines, bytes and sum. Raises
    ValueError where it ends in the middle of something. Of columns with floating-point numbers the
    numbers count, and not how a version of PostgreSQL writes them."""
    tables: dict[str, dict] = {}
    others = nothing()
    columns: Sequence[int] | None = None
    for header, line in parts(lines):
        if header is None:
            add(others, line)
        elif line is None:
            tables.setdefault(header, nothing())
            columns = floats.get(parts_of(header)) if floats else None
        else:
            add(tables[header], line if columns is None else in_one_form(line, columns))
    return {"tables": tables, "others": others}


def no_utf8(lines: Iterable[bytes]) -> list[str]:
    """The tables of a dump of data with rows that are no text in UTF-8."""
    found: dict[str, None] = {}
    for header, line in parts(lines):
        if header is not None and line is not None and header not in found:
            try:
                line.decode()
            except UnicodeDecodeError:
                found[header] = None
    return [name_of(header) for header in found]


def parts(lines: Iterable[bytes]) -> Iterator[tuple[str | None, bytes | None]]:
    """The rows of a dump of data, each with the header of its table, which comes alone before them;
    and all else that counts, without a header."""
    head, table, quote = b"", None, b""
    for line in lines:
        if table is not None:
            if line == END:
                table = None
            else:
                yield table, line
            continue
        # In a text anything may stand, and a name may have line ends.
        is_new, quote = not quote, quote_after(line, quote)
        if head or (is_new and line.startswith(b"COPY ")):
            head += line
            if not quote:
                header = head.decode(errors="surrogateescape")
                if not header.endswith(FROM_HERE):
                    raise ValueError(f"the dump has a table that cannot be read: {header}")
                table, head = header.removesuffix(FROM_HERE), b""
                yield table, None
        elif not is_new or is_told(line):
            yield None, line
    if table is not None or quote:
        raise ValueError("the dump is cut off")


def parts_of(header: str) -> tuple[str, str]:
    """Schema and name of the table of a `COPY`, without quotes."""
    schema, name = re.findall(r'"(?:[^"]|"")*"|[^". ]+', name_of(header))[:2]
    return unquoted(schema), unquoted(name)


def unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def in_one_form(line: bytes, columns: Sequence[int]) -> bytes:
    """A row with the numbers of these columns as short as they can be told apart. In what is made
    of both kinds all count as those of 4 bytes."""
    values = line.split(b"\t")
    for place, size in enumerate(columns[: len(values)]):
        if size:
            form = number_of_four if size == 4 else number_of_eight
            values[place] = NUMBER.sub(form, values[place])
    return b"\t".join(values)


def number_of_eight(found: re.Match[bytes]) -> bytes:
    return repr(float(found[0])).encode()


def number_of_four(found: re.Match[bytes]) -> bytes:
    try:
        (number,) = struct.unpack("f", struct.pack("f", float(found[0])))
    except OverflowError:
        return number_of_eight(found)
    return repr(number).encode()


def quote_after(line: bytes, quote: bytes) -> bytes:
    """Which quote is open at the end of a line, if one was at its begin. A doubled one closes and
    opens; pg_dump writes no backslash before one."""
    if not quote and line.startswith(b"--"):
        return b""
    for found in QUOTE.findall(line):
        if not quote:
            quote = found
        elif quote == found:
            quote = b""
    return quote


def nothing() -> dict:
    return {"rows": 0, "bytes": 0, "sum": 0}


def add(total: dict, line: bytes) -> None:
    total["rows"] += 1
    total["bytes"] += len(line)
    # A sum, and not an exclusive or: of that, two equal rows are none.
    total["sum"] = (total["sum"] + int.from_bytes(hashlib.sha256(line).digest())) % (1 << 256)


def is_told(line: bytes) -> bool:
    return bool(line.strip()) and not line.startswith(OF_THE_DUMP)


def name_of(header: str) -> str:
    """The table of a `COPY`, as SQL names it."""
    found = COPY.match(header)
    return found["table"] if found else header


def differences(before: dict, after: dict) -> list[str]:
    """What two dumps of data do not have alike, a line each."""
    found = []
    for header in sorted(before["tables"].keys() | after["tables"].keys()):
        name = name_of(header)
        one, other = before["tables"].get(header), after["tables"].get(header)
        if one is None or other is None:
            where = "only in the new database" if one is None else "not in the new database"
            found.append(f"{name} is {where}, or has other columns there")
        elif one["rows"] != other["rows"]:
            found.append(f"{name} has {other['rows']} rows and had {one['rows']}")
        elif one != other:
            found.append(f"{name} has other contents")
    if not found and before["others"] != after["others"]:
        found.append("positions of sequences, or large objects, are others")
    return found


def definitions_of(lines: Iterable[bytes]) -> dict[str, str]:
    """The objects of a dump of definitions, each with a digest of how it reads."""
    texts: dict[str, list[bytes]] = {}
    text: list[bytes] = []
    for line in lines:
        entry = ENTRY.match(line)
        if entry:
            text = []
            name = object_of(entry)
            if name:
                # Two of one name, such as casts, count as one.
                text = texts.setdefault(name, [])
        elif is_told(line):
            text.append(line)
    return {name: hashlib.sha256(b"".join(text)).hexdigest() for name, text in texts.items()}


def object_of(entry: re.Match[bytes]) -> str | None:
    """`TABLE public.a`; None for what is not compared."""
    named, kind, schema = (part.decode(errors="surrogateescape") for part in entry.groups())
    if any(kind == k and n in (None, named) for k, n in NOT_COMPARED):
        return None
    if kind == "COMMENT" and named.startswith("EXTENSION "):
        return None
    return f"{kind} {'' if schema == '-' else schema + '.'}{named}"


def without(definitions: dict[str, str], kinds: list[str]) -> dict[str, str]:
    """All but objects of these kinds, and comments on them."""
    goes = tuple(start for kind in kinds for start in (f"{kind} ", f"COMMENT {kind} "))
    return {name: how for name, how in definitions.items() if not name.startswith(goes)}


def lost(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Objects that are not there any more, or are new."""
    gone = [f"{name} is not in the new database" for name in sorted(before.keys() - after.keys())]
    new = [f"{name} is only in the new database" for name in sorted(after.keys() - before.keys())]
    return gone + new


def otherwise(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Objects whose definition reads otherwise, as versions of PostgreSQL write it."""
    return [name for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
