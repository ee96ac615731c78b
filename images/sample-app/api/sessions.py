"""Genie sessions: create, read."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

router = APIRouter(prefix="/api/v1/sessions", tags=["sessions"])


class NewSession(BaseModel):
    user_id: str = Field(max_length=255)
    session_data: dict = {}


class Session(NewSession):
    id: UUID
    created_at: datetime


@router.post("", status_code=201)
async def create(new: NewSession, request: Request) -> Session:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO genie_sessions (user_id, session_data) VALUES (%s, %s) RETURNING *",
            [new.user_id, Jsonb(new.session_data)],
        )
        return Session(**await cursor.fetchone())


@router.get("/{session_id}")
async def read(session_id: UUID, request: Request) -> Session:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT * FROM genie_sessions WHERE id = %s", [session_id]
        )
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "no such session")
    return Session(**row)
