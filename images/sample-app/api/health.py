"""`GET /api/v1/health`: 200 only when the database answered just now."""

import time

from fastapi import APIRouter, Request, Response
from psycopg import Error
from psycopg_pool import PoolTimeout

from api.settings import SERVICE_MODE

router = APIRouter(prefix="/api/v1")

QUESTION = """
    SELECT current_database() AS name,
           current_setting('server_version') AS version,
           (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector
"""


@router.get("/health")
async def health(request: Request, response: Response) -> dict:
    start = time.perf_counter()
    try:
        # Shorter than the pool's own: a health check that hangs is no answer.
        async with request.app.state.pool.connection(timeout=1) as connection:
            row = await (await connection.execute(QUESTION)).fetchone()
    except (Error, PoolTimeout) as error:
        response.status_code = 503
        database = {"status": "down", "error": type(error).__name__}
        return {"status": "unhealthy", "service": SERVICE_MODE, "database": database}
    database = {"status": "up", **row, "took_ms": round((time.perf_counter() - start) * 1000, 2)}
    return {"status": "healthy", "service": SERVICE_MODE, "database": database}
