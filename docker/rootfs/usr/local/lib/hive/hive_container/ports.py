"""Whether the ports are free that the container's programs listen on."""

import errno
import os
import socket

from hive_container.image import DATABASE_HOST, DATABASE_PORT, Fatal


def inspect(app_port: int) -> None:
    """Raises Fatal when a port cannot be had: another container in the same network namespace
    (`--network host`, a pod), or a port that only root may take."""
    try_port("0.0.0.0", app_port, "HIVE_API_PORT gives the app another one")
    try_port(DATABASE_HOST, DATABASE_PORT, "no other PostgreSQL may share the container's network")


def try_port(address: str, port: int, hint: str) -> None:
    with socket.socket() as listener:
        # As the programs do: connections of an earlier start still close.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            raise Fatal(f"port {port} {why} ({os.strerror(error.errno)})", hint) from error
