"""The ASGI app: `uvicorn api.serve:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from api import deployments, documents, health, sessions
from api.database import make_pool
from api.settings import SERVICE_MODE


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with make_pool() as pool:
        app.state.pool = pool
        yield


app = FastAPI(title=f"Hive sample app ({SERVICE_MODE})", lifespan=lifespan)
app.include_router(health.router)
app.include_router(documents.router)
app.include_router(sessions.router)
app.include_router(deployments.router)


@app.exception_handler(PoolTimeout)
@app.exception_handler(OperationalError)
async def database_is_away(_request: Request, _error: Exception) -> JSONResponse:
    """The database going is not the caller's fault and not a bug: 503, try again."""
    return JSONResponse({"detail": "the database does not answer"}, status_code=503)
