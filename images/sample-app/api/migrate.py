"""Brings the database to the schema this code needs: `python -m api.migrate`.

Every statement may run again, and all of them run in one transaction: a start that is
killed half-way leaves the old schema or the new one.
"""

import psycopg

from api.settings import DIMENSIONS, database_url

#: Any fixed number: two starts at once wait for each other instead of colliding.
MIGRATION_LOCK = 4_888_638_886

DOCUMENTS_TABLE = f"""
    CREATE TABLE IF NOT EXISTS documents (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        content TEXT NOT NULL,
        embedding VECTOR({DIMENSIONS}) NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
"""

DOCUMENTS_INDEX = """
    CREATE INDEX IF NOT EXISTS documents_embedding
        ON documents USING hnsw (embedding vector_cosine_ops)
"""

SESSIONS_TABLE = """
    CREATE TABLE IF NOT EXISTS genie_sessions (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        user_id VARCHAR(255),
        session_data JSONB,
        created_at TIMESTAMP DEFAULT now()
    )
"""

DEPLOYMENTS_TABLE = """
    CREATE TABLE IF NOT EXISTS agent_deployments (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        agent_config JSONB,
        deployment_status VARCHAR(50),
        created_at TIMESTAMP DEFAULT now()
    )
"""


STATEMENTS = [
    "CREATE EXTENSION IF NOT EXISTS vector",
    DOCUMENTS_TABLE,
    DOCUMENTS_INDEX,
    SESSIONS_TABLE,
    DEPLOYMENTS_TABLE,
]


def main() -> None:
    with psycopg.connect(database_url(), connect_timeout=5) as connection:
        # "already exists, skipping" at each start says nothing.
        connection.execute("SET client_min_messages = warning")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        for statement in STATEMENTS:
            connection.execute(statement)
    print("schema is up to date")


if __name__ == "__main__":
    main()
