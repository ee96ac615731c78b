"""The connection pool, and what the rest of the app does with a connection."""

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from api.settings import database_url


def make_pool() -> AsyncConnectionPool:
    """A closed pool; the app's lifespan opens it."""
    return AsyncConnectionPool(
        database_url(),
        min_size=1,
        max_size=10,
        # A request waits this long for a connection, then answers 503: never for ever.
        timeout=2,
        # A connection that died with the database is found here and not by a request.
        check=AsyncConnectionPool.check_connection,
        # Quick to come back when the database restarts: the default backs off for minutes.
        reconnect_timeout=1,
        kwargs={"row_factory": dict_row, "autocommit": True, "connect_timeout": 2},
        open=False,
    )
