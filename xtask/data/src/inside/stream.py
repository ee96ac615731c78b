"""Prints a base backup of the running cluster: one compressed tar archive, with all of the log
that it needs and with its manifest; and with the app's folders, where it has some on the volume.

`pg_basebackup` fetches the log when it has copied all else, and a busy server has removed some of
it by then. A slot of a session that is open as long keeps it; it goes with the session, however
that ends.
"""

import os
import subprocess
import sys

import files
import slot

PGDATA = "/var/lib/postgresql/data/pgdata"

ENVIRONMENT = slot.ENVIRONMENT | {"PATH": "/usr/bin:/bin"}

SLOT = f"hive_backup_{os.getpid()}"

BACKUP = [
    "pg_basebackup",
    "--pgdata=-",
    "--format=tar",
    # The other way needs a second file for the log.
    "--wal-method=fetch",
    "--checkpoint=fast",
    "--manifest-checksums=SHA256",
    "--label=hive",
    "--no-password",
]


def of_the_cluster() -> int:
    command = [*BACKUP, "--compress=client-zstd:level=3"]
    return subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=False
    ).returncode


def of_all(home: str) -> int:
    """What is added to an archive has to come before its end, and so to its compression."""
    target = files.Zstd(sys.stdout.buffer)
    cluster = subprocess.Popen(
        [*BACKUP, "--compress=none"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        files.without_end(cluster.stdout, target)
    finally:
        # It ends when nobody reads it any more.
        cluster.stdout.close()
        code = cluster.wait()
    if code == 0:
        files.add(home, target)
        target.close()
    return code


def main() -> int:
    # The app's requests come first.
    os.nice(10)
    session = slot.open_session()
    if not slot.keeps_log(session, SLOT):
        return 1
    home = files.of_cluster(PGDATA)
    try:
        code = of_all(home) if home else of_the_cluster()
    except OSError as error:
        print(f"{error.filename or 'the backup'}: {error.strerror or error}", file=sys.stderr)
        code = 1
    if session.poll() is not None:
        print(slot.why_it_ended(), file=sys.stderr)
        return 1
    session.communicate()
    # A signal is no exit code.
    return code if code >= 0 else 1


sys.exit(main())
