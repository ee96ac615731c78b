"""`GET /api/v1/health`: 200 only when the database answered just now."""

import asyncio
import time

from fastapi import APIRouter, Request, Response
from psycopg import Error
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api.settings import SERVICE_MODE

router = APIRouter(prefix="/api/v1")

QUESTION = """
    SELECT current_database() AS name,
           current_setting('server_version') AS version,
           (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector
"""

#: Seconds. A health check that hangs is no answer: it says 503 by then.
PATIENCE = 1.5


@router.get("/health")
async def health(request: Request, response: Response) -> dict:
    start = time.perf_counter()
    state = request.app.state
    # A database that hangs lets no question be taken back: the client waits for its end, too. So
    # it is left to go on by itself, and there is never more than one.
    question = getattr(state, "health_question", None)
    if question is None or question.done():
        question = state.health_question = asyncio.create_task(ask(state.pool))
    done, _ = await asyncio.wait({question}, timeout=PATIENCE)
    try:
        row = question.result() if done else None
        wrong = None if done else "TimeoutError"
    except (Error, PoolTimeout) as error:
        wrong = type(error).__name__
    if wrong:
        response.status_code = 503
        database = {"status": "down", "error": wrong}
        return {"status": "unhealthy", "service": SERVICE_MODE, "database": database}
    database = {"status": "up", **row, "took_ms": round((time.perf_counter() - start) * 1000, 2)}
    return {"status": "healthy", "service": SERVICE_MODE, "database": database}


#: Seconds for a connection. One that is there is checked within milliseconds; a database that is
#: away is told about by then, and not only when the pool gives up.
CONNECTION = 0.5


async def ask(pool: AsyncConnectionPool) -> dict:
    async with pool.connection(timeout=CONNECTION) as connection:
        return await (await connection.execute(QUESTION)).fetchone()
