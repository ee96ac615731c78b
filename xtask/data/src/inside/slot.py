"""A session of the running server that keeps its log, by a slot that goes with the session, however
that ends: nothing is left in the server.
"""

import subprocess

#: As the superuser, of whichever programs.
ENVIRONMENT = {
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGSERVICE": "superuser",
    "PGCONNECT_TIMEOUT": "10",
}


def open_session() -> subprocess.Popen:
    return subprocess.Popen(
        ["/usr/bin/psql", "-XAtq", "-v", "ON_ERROR_STOP=1"],
        env=ENVIRONMENT | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def keeps_log(session: subprocess.Popen, slot: str) -> bool:
    """Whether the server keeps its log from here on, until the session ends."""
    statement = f"SELECT slot_name FROM pg_create_physical_replication_slot('{slot}', true, true);"
    print(statement, file=session.stdin, flush=True)
    return session.stdout.readline().strip() == slot


def why_it_ended() -> str:
    """What to say where the session has ended by itself."""
    bound = "SELECT setting, pg_size_pretty(setting::bigint << 20) FROM pg_settings"
    done = subprocess.run(
        ["/usr/bin/psql", "-XAtqc", f"{bound} WHERE name = 'max_slot_wal_keep_size'"],
        env=ENVIRONMENT | {"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    megabytes, _, shown = done.stdout.strip().partition("|")
    if not shown or megabytes == "-1":
        return "the session that keeps the log has ended meanwhile"
    return (
        f"more than {shown} of the log was written meanwhile, and the server keeps no more while it"
        " is archived (max_slot_wal_keep_size): take it when less is written, or without the"
        " archive's volume"
    )
