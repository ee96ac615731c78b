"""The ports that the container's programs listen on: whether they are free, and stay so."""

import errno
import os
import socket

from hive_container.image import DATABASE_HOST, DATABASE_PORT, METRICS_PORT, Fatal

#: The reserved port's descriptor. Above supervisord's `minfds`: it closes those below.
DESCRIPTOR = 101


def inspect(app_port: int | None, metrics_port: int | None, *, has_database: bool = True) -> None:
    """Raises Fatal when a port cannot be had: another container in the same network namespace
    (`--network host`, a pod), or a port that only root may take."""
    if app_port:
        try_port("0.0.0.0", app_port, "HIVE_API_PORT gives the app another one")
    address = DATABASE_HOST if app_port else "0.0.0.0"
    if has_database:
        try_port(address, DATABASE_PORT, "no other PostgreSQL may share the container's network")
    if metrics_port:
        try_port("0.0.0.0", metrics_port, f"{METRICS_PORT} gives the metrics another one")


def of_postgresql(*, has_app: bool) -> list[str]:
    """Where PostgreSQL listens: for the app beside it, or for those in other containers. By
    address: /etc/hosts may be empty, or give `localhost` one family only. IPv6 where there is any,
    for clients that try it first."""
    addresses, other = ([DATABASE_HOST], "::1") if has_app else (["0.0.0.0"], "::")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        addresses.append(other)
    except OSError:
        pass
    return addresses


def reserve(app_port: int) -> None:
    """Keeps the app's port for servers as long as this process lives.

    It lies among those that the kernel gives to connections. One of psql or of the app that got
    it would keep the app from listening for a minute (TIME_WAIT), once in some thousand starts;
    one to the port itself, while nobody listens, can even connect to itself. The kernel gives no
    port that somebody has bound; a server may, with SO_REUSEADDR as servers have it.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("0.0.0.0", app_port))
        os.dup2(bound.fileno(), DESCRIPTOR, inheritable=False)


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
