"""What the app takes from its environment."""

import os

#: The service's name in answers: `genie`, `agent`.
SERVICE_MODE = os.environ.get("HIVE_SERVICE_MODE", "all")

#: Numbers in one embedding. Part of the schema: a column and its index have one width.
DIMENSIONS = 384


def database_url() -> str:
    """The libpq URL of the app's database; raises KeyError when the environment names none."""
    url = os.environ.get("DATABASE_URL") or os.environ["HIVE_DATABASE_URL"]
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
