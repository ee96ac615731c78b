"""How an empty volume gets its cluster, and a restored one its superuser's password."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Sequence

from hive_container import lineage
from hive_container.cluster import POSTGRES_BIN, read_first_line
from hive_container.image import (
    SUPERUSER,
    Fatal,
    Image,
    identifier,
    in_words,
    pgpass_line,
    server_environment,
    sync,
    write_private,
)
from hive_container.volume import (
    ADOPTED,
    ADOPTING,
    IDENTITY,
    MIB,
    MOUNT,
    PGDATA,
    PREPARED,
    SUPERUSER_PASSFILE,
    SUPERUSER_PASSWORD,
    identity_of,
    keep_password,
)

#: The database of the prepared cluster that becomes the app's.
PREPARED_DATABASE = "hive_app"

#: Files that are synced at a time.
SYNC_THREADS = 16


def adopt(image: Image) -> None:
    """Turns an empty volume into one with a cluster; does nothing where there is one.

    A copy of the prepared cluster is made whole and durable under another name and then
    renamed: a kill or a power cut at any moment leaves no cluster, or a good one. What an
    interrupted or failed copy leaves goes, now or at the next start.
    """
    remove_copies()
    if not os.path.isfile(f"{PGDATA}/PG_VERSION"):
        try:
            make_cluster(image)
        except (OSError, Fatal) as error:
            # On a broken disk that fails, too, and would hide why; the next start tries again.
            with contextlib.suppress(OSError):
                remove_copies()
            why = in_words(error) if isinstance(error, OSError) else error
            raise Fatal(f"cannot make a cluster on the volume {MOUNT}: {why}") from error
    elif not read_first_line(SUPERUSER_PASSFILE):
        # Restored without the folder `hive`.
        set_password(PGDATA)
    if not os.path.exists(ADOPTED):
        write_private(ADOPTED, "", durable=True)


def make_cluster(image: Image) -> None:
    copy = f"{MOUNT}/{ADOPTING}{secrets.token_hex(4)}"
    copy_cluster(copy)
    lineage.give(copy, lineage.new_identifier())
    with open(f"{copy}/{os.path.basename(IDENTITY)}", "w", encoding="utf-8") as file:
        json.dump(identity_of(image), file)
    complete(copy, image)
    sync_tree(copy)
    os.rename(copy, PGDATA)
    sync(MOUNT)


def remove_copies() -> None:
    for name in os.listdir(MOUNT):
        if name.startswith(ADOPTING):
            path = f"{MOUNT}/{name}"
            # A link or a file of that name is not ours, and nobody's data either.
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def copy_cluster(copy: str) -> None:
    os.umask(0o077)
    # `cp` is quicker than Python at a thousand small files. Not -a: modes are ours to choose.
    command = ["/bin/cp", "-r", "--no-preserve=all", PREPARED, copy]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        # One line for each file that does not fit any more: the first says it all.
        raise Fatal(done.stderr.decode(errors="replace").split("\n")[0])
    # The image holds the first WAL segment without the zeros it ends in.
    wal = f"{copy}/pg_wal"
    for name in os.listdir(wal):
        if len(name) == 24:
            with open(f"{wal}/{name}", "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, 16 * MIB)


def complete(cluster: str, image: Image) -> None:
    """Sets the superuser's password and names the app's database.

    Nothing has to be durable yet: the cluster is synced as a whole.
    """
    statements = []
    if image.database != PREPARED_DATABASE:
        # Part of the prepared cluster, as making a database takes longer than all the rest.
        rename = f"ALTER DATABASE {PREPARED_DATABASE} RENAME TO {identifier(image.database)}"
        statements.append(rename)
    set_password(cluster, statements, "-F")


def set_password(cluster: str, more: Sequence[str] = (), *options: str) -> None:
    """Gives the superuser the password that is kept on the volume, made now if there is none."""
    password = keep_password(SUPERUSER_PASSWORD)
    single_user(cluster, [f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'", *more], *options)
    # Last: where this file is, the cluster has the password, whenever a kill comes.
    write_private(SUPERUSER_PASSFILE, pgpass_line(SUPERUSER, password), durable=True)


def single_user(cluster: str, statements: list[str], *options: str) -> None:
    """Runs SQL in a cluster that no server runs."""
    settings = {
        # As in postgresql.conf, which it does not read: /dev/shm may be small, or not be there.
        "dynamic_shared_memory_type": "sysv",
        # As `ALTER SYSTEM` may not have it in the cluster that is there.
        "default_transaction_read_only": "off",
        "password_encryption": "scram-sha-256",
    }
    more = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    done = subprocess.run(
        [f"{POSTGRES_BIN}/postgres", "--single", *more, *options, "-D", cluster, "template1"],
        input="".join(f"{statement}\n" for statement in statements).encode(),
        env=server_environment(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0 or "ERROR:" in output:
        raise Fatal(f"cannot complete the cluster: {output.strip()}")


def sync_tree(root: str) -> None:
    """All files below `root` are on disk when this returns.

    Many at a time: the disk then flushes once for several. Not syncfs(): it would also wait for
    everything else that is being written to the disk the volume lies on.
    """
    paths = [root]
    for directory, directories, files in os.walk(root):
        paths += (os.path.join(directory, name) for name in directories + files)
    work = iter(paths)
    failures: list[OSError] = []

    def sync_some() -> None:
        for path in iter(lambda: next(work, None), None):
            try:
                sync(path)
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=sync_some) for _ in range(SYNC_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
