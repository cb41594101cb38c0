"""The codec server of the history UI: decrypts payloads for the owner's session only.

Protocol: Temporal's remote codec, `POST /codec/{decode,encode}` with `{"payloads": […]}` in protobuf's JSON.
Same-origin, because the UI is served by this edge; a foreign origin is refused with the session check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, Request, Response
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from api.body import read_body
from api.deps import App, Owner
from portico.errors import Unreadable
from portico.temporal.codec import EncryptionCodec, RefusedPayload

router = APIRouter(tags=["codec"])

BODY_LIMIT = 16 * 1024 * 1024

Convert = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


@router.post("/codec/decode")
async def decode(request: Request, deps: App, person: Owner) -> Response:
    """Payloads in clear. One that no key opens stays as it is, so that the rest of a page can be read."""
    codec = EncryptionCodec(deps.keyring)

    async def convert(payloads: Sequence[Payload]) -> list[Payload]:
        return [_opened(codec, payload) for payload in payloads]

    return await _converted(request, convert)


@router.post("/codec/encode")
async def encode(request: Request, deps: App, person: Owner) -> Response:
    """Payloads as Temporal may store them."""
    return await _converted(request, EncryptionCodec(deps.keyring).encode)


async def _converted(request: Request, convert: Convert) -> Response:
    body = await read_body(request, limit_bytes=BODY_LIMIT)
    try:
        given = json_format.Parse(body, Payloads())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise Unreadable("the request", "it is not {'payloads': […]}") from error
    converted = Payloads(payloads=await convert(given.payloads))
    return Response(json_format.MessageToJson(converted), media_type="application/json")


def _opened(codec: EncryptionCodec, payload: Payload) -> Payload:
    try:
        return codec.decrypt(payload)
    except RefusedPayload:
        return payload
