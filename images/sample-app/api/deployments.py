"""Agent deployments: create, read."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from psycopg.types.json import Jsonb
from pydantic import BaseModel, Field

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])


class NewDeployment(BaseModel):
    agent_config: dict
    deployment_status: str = Field(default="pending", max_length=50)


class Deployment(NewDeployment):
    id: UUID
    created_at: datetime


@router.post("", status_code=201)
async def create(new: NewDeployment, request: Request) -> Deployment:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO agent_deployments (agent_config, deployment_status)"
            " VALUES (%s, %s) RETURNING *",
            [Jsonb(new.agent_config), new.deployment_status],
        )
        return Deployment(**await cursor.fetchone())


@router.get("/{deployment_id}")
async def read(deployment_id: UUID, request: Request) -> Deployment:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT * FROM agent_deployments WHERE id = %s", [deployment_id]
        )
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "no such deployment")
    return Deployment(**row)
