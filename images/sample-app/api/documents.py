"""Documents with an embedding each: create, read, nearest neighbours by cosine distance."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from api.settings import DIMENSIONS

router = APIRouter(prefix="/api/v1/documents", tags=["documents"])

Embedding = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(min_length=DIMENSIONS, max_length=DIMENSIONS),
]


class NewDocument(BaseModel):
    content: str
    embedding: Embedding


class Document(BaseModel):
    id: int
    content: str


class Search(BaseModel):
    embedding: Embedding
    limit: int = Field(default=5, ge=1, le=100)


class Neighbour(Document):
    distance: float


def vector(embedding: list[float]) -> str:
    """pgvector's text form: no adapter to register, no NumPy in the image."""
    return "[" + ",".join(map(repr, embedding)) + "]"


@router.post("", status_code=201)
async def create(new: NewDocument, request: Request) -> Document:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "INSERT INTO documents (content, embedding) VALUES (%s, %s::vector)"
            " RETURNING id, content",
            [new.content, vector(new.embedding)],
        )
        return Document(**await cursor.fetchone())


@router.get("/{document_id}")
async def read(document_id: int, request: Request) -> Document:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT id, content FROM documents WHERE id = %s", [document_id]
        )
        row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "no such document")
    return Document(**row)


@router.post("/search")
async def search(question: Search, request: Request) -> list[Neighbour]:
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT id, content, embedding <=> %(near)s::vector AS distance FROM documents"
            " ORDER BY embedding <=> %(near)s::vector LIMIT %(limit)s",
            {"near": vector(question.embedding), "limit": question.limit},
        )
        return [Neighbour(**row) for row in await cursor.fetchall()]
