"""`POST /v1/embeddings`: texts to vectors of 384 numbers, by the encoder that Triton serves."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api.deps import App, AppDeps, Person
from api.openai.choose import ENCODER, allowed_encoder
from api.openai.errors import ERRORS, OpenAiRoute, Unsupported
from api.openai.requests import EmbeddingRequest, texts_of
from api.openai.stream import ClientGone, while_connected
from portico.llm.meter import reckoned
from portico.storage.access import Principal
from portico.storage.usage import AnswerRecord

router = APIRouter(tags=["OpenAI-compatible"], route_class=OpenAiRoute, responses=ERRORS)

DIMENSIONS = 384
AT_ONCE = 2
QUEUE = 32
"""Requests that run and that wait; chats understand through the same Triton and come between their batches."""
NOBODY_READS = 499


@router.post(
    "/v1/embeddings",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}, "description": "The vectors"}},
)
async def embeddings(body: EmbeddingRequest, request: Request, deps: App, person: Person) -> Response:
    """As OpenAI documents it. `model` is `text_encoder` (or `auto`); a text counts to its 256th word piece."""
    texts = texts_of(body)
    if body.dimensions not in (None, DIMENSIONS):
        raise Unsupported("dimensions", f"the vectors have {DIMENSIONS} numbers")
    allowed = await allowed_encoder(deps, person, body.model)
    decision_id = allowed.decision.decision_id
    try:
        vectors = await while_connected(request, _encoded(deps, texts))
    except ClientGone:
        return Response(status_code=NOBODY_READS)
    tokens = sum(reckoned(len(text.encode())) for text in texts)
    await _record(deps, person, decision_id, tokens)
    answer = {
        "object": "list",
        "model": ENCODER.name,
        "data": [
            {"object": "embedding", "index": number, "embedding": _written(vector, body.encoding_format)}
            for number, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "estimated": True},
    }
    return Response(
        orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY),
        media_type="application/json",
        headers={"X-Portico-Decision": decision_id},
    )


async def _encoded(deps: AppDeps, texts: list[str]) -> list[Any]:
    async with deps.routes.place(ENCODER.name, concurrency=AT_ONCE, queue=QUEUE):
        return await deps.encoder.embed(texts)


def _written(vector: Any, encoding: str) -> Any:
    """`vector` is an array of numpy's: for JSON as it is, or its bytes as every machine reads them."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector


async def _record(deps: AppDeps, person: Principal, decision_id: str, tokens: int) -> None:
    await deps.usage.record(
        AnswerRecord(
            key=decision_id,
            person=person.person_id,
            route=ENCODER.name,
            decision_id=decision_id,
            finish="stop",
            input_tokens=tokens,
            output_tokens=0,
            estimated=True,
        )
    )
