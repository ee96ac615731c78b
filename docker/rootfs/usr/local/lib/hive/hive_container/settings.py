"""PostgreSQL's settings: what the sessions of ours pin, and which of the app's cannot stay.

The app's role owns its database. It can give it settings of any kind (`ALTER DATABASE … SET`), and
have functions, operators and views in it that are meant to be called in place of PostgreSQL's own
(CVE-2018-1058). A setting given when a session begins wins over those of database and role, so a
session of the superuser looks names up in `pg_catalog` alone and is under no time limit.
"""

import re
from collections.abc import Mapping

#: Nothing of the app's stands in the way of a session with these.
_OF_ANY_SESSION = {
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
#: Only the superuser may say so, and it has to: a name of pg_catalog's is PostgreSQL's own.
_OF_THE_SUPERUSER = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "local_preload_libraries": "",
    "session_preload_libraries": "",
    "standard_conforming_strings": "on",
}
#: Of the statements that are run at each start, without anybody to look at what comes of them.
_OF_THE_START = {"client_min_messages": "warning"}
#: The first version with event triggers that can be left out, and with this time limit.
_SINCE = 17

#: A time limit of database or role that is shorter than this ends sessions rather than statements
#: that take too long: PostgreSQL takes such a time to let the app in.
SHORTEST_LIMIT_MS = 100
TIME_LIMITS = (
    *("statement_timeout", "transaction_timeout", "lock_timeout"),
    *("idle_session_timeout", "idle_in_transaction_session_timeout"),
)
_UNITS_MS = {"us": 0.001, "": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def of_any_session(major: int) -> dict[str, str]:
    """For the health check and the start, as the app's role: nothing hinders them."""
    later = {"transaction_timeout": "0"} if major >= _SINCE else {}
    return _OF_ANY_SESSION | later


def of_the_superuser(major: int) -> dict[str, str]:
    """For whoever uses `service=superuser`."""
    return of_any_session(major) | _OF_THE_SUPERUSER


def of_the_start(major: int) -> dict[str, str]:
    """For the superuser's statements at each start."""
    later = {"event_triggers": "off"} if major >= _SINCE else {}
    return of_the_superuser(major) | _OF_THE_START | later


def as_options(settings: Mapping[str, str]) -> str:
    """As libpq's `options` and PGOPTIONS take them: split at blanks, with backslashes for those
    that belong to a value."""

    def escape(value: str) -> str:
        return re.sub(r"([\\\s])", r"\\\1", value)

    return " ".join(f"-c {name}={escape(value)}" for name, value in settings.items())


def as_file(settings: Mapping[str, str], over: str) -> str:
    """A configuration file with these settings over those of another file."""

    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"

    lines = [f"include {quote(over)}"]
    lines += [f"{name} = {quote(value)}" for name, value in settings.items()]
    return "".join(f"{line}\n" for line in lines)


def stops_sessions(name: str, value: str) -> bool:
    """Whether no session could work, or even begin, with this setting of database or role."""
    if name == "local_preload_libraries":
        # The image has no such library; a name that is not there ends each login.
        return bool(value)
    if name == "role":
        # Every owner of a database is a member; it owns nothing, and may not make anything.
        return value == "pg_database_owner"
    return name in TIME_LIMITS and 0 < _milliseconds(value) < SHORTEST_LIMIT_MS


def _milliseconds(value: str) -> float:
    """A time as PostgreSQL takes it, without a unit in milliseconds. What it takes and this does
    not know (hexadecimal numbers) is no time at all."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|min|h|d|)\s*", value)
    return float(found[1]) * _UNITS_MS[found[2]] if found else SHORTEST_LIMIT_MS / 2
