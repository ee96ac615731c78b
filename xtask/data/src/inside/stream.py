"""Prints a base backup of the running cluster: one compressed tar archive, with all of the log
that it needs and with its manifest.

`pg_basebackup` fetches the log when it has copied all else, and a busy server has removed some of
it by then. A slot of a session that is open as long keeps it; it goes with the session, however
that ends.
"""

import os
import subprocess
import sys

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGSERVICE": "superuser",
    "PGCONNECT_TIMEOUT": "10",
}

SLOT = f"hive_backup_{os.getpid()}"

BACKUP = [
    "pg_basebackup",
    "--pgdata=-",
    "--format=tar",
    # The other way needs a second file for the log.
    "--wal-method=fetch",
    "--checkpoint=fast",
    "--manifest-checksums=SHA256",
    "--compress=client-zstd:level=3",
    "--label=hive",
    "--no-password",
]


def main() -> int:
    # The app's requests come first.
    os.nice(10)
    session = subprocess.Popen(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    statement = f"SELECT slot_name FROM pg_create_physical_replication_slot('{SLOT}', true, true);"
    print(statement, file=session.stdin, flush=True)
    if session.stdout.readline().strip() != SLOT:
        return 1
    code = subprocess.run(BACKUP, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=False).returncode
    if session.poll() is not None:
        print("the session that keeps the log has ended meanwhile", file=sys.stderr)
        return 1
    session.communicate()
    # A signal is no exit code.
    return code if code >= 0 else 1


sys.exit(main())
