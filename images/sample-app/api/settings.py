"""What the app takes from its environment."""

import os

#: `genie` keeps sessions, `agent` keeps deployments; unset or `all` keeps both.
SERVICE_MODE = os.environ.get("HIVE_SERVICE_MODE", "all")

#: Numbers in one embedding. Part of the schema: a column and its index have one width.
DIMENSIONS = 384

SESSIONS = SERVICE_MODE != "agent"
DEPLOYMENTS = SERVICE_MODE != "genie"


def database_url() -> str:
    """The libpq URL of the app's database; raises KeyError when the environment names none."""
    url = os.environ.get("DATABASE_URL") or os.environ["HIVE_DATABASE_URL"]
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
