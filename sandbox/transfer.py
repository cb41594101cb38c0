"""`/files`: whole files in and out, opened by token or by a signed address that names no sandbox."""

from __future__ import annotations

import hmac
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.connect import RpcError
from sandbox.envd import USERS, user_of
from sandbox.guest.frames import CHUNK
from sandbox.http import ENVD, HttpRefused, opened, sandboxes
from sandbox.link import Call, GuestError
from sandbox.record import Sandbox

METADATA = "x-metadata-"


async def download(request: Request) -> Response:
    sandbox = _sandbox_of(request, "read")
    path = request.query_params.get("path", "")
    if not path:
        raise HttpRefused(400, "path is missing")
    call = sandbox.link.call("read", path=path)
    answers = aiter(call)
    try:
        await anext(answers)
    except GuestError as error:
        raise HttpRefused(404 if error.code == "not_found" else 400, str(error)) from None
    return StreamingResponse(_body(call, answers), media_type="application/octet-stream")


async def _body(call: Call, answers: AsyncIterator[tuple[dict[str, Any], bytes]]) -> AsyncIterator[bytes]:
    try:
        async for _, body in answers:
            yield body
    finally:
        call.cancel()


async def upload(request: Request) -> Response:
    sandbox = _sandbox_of(request, "write")
    path = request.query_params.get("path", "")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    metadata = {
        name.removeprefix(METADATA): value
        for name, value in request.headers.items()
        if name.startswith(METADATA)
    }
    if kind == b"application/octet-stream":
        if not path:
            raise HttpRefused(400, "path is missing")
        return JSONResponse([await _store(sandbox, path, _unpacked(request), metadata)])
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise HttpRefused(400, "an upload is multipart/form-data or application/octet-stream")
    return JSONResponse(await _store_parts(request, sandbox, path, metadata))


async def _store_parts(
    request: Request, sandbox: Sandbox, path: str, metadata: dict[str, str]
) -> list[dict[str, Any]]:
    stored = []
    async with request.form(max_files=1000, max_fields=10) as form:
        files = [part for part in form.getlist("file") if not isinstance(part, str)]
        if not files or (path and len(files) > 1):
            raise HttpRefused(400, "an upload holds one file for a path, or files that name their own")
        for part in files:
            target = path or part.filename or ""
            if not target:
                raise HttpRefused(400, "a part has no file name")

            async def chunks(part: Any = part) -> AsyncIterator[bytes]:
                while data := await part.read(CHUNK):
                    yield data

            stored.append(await _store(sandbox, target, chunks(), metadata))
    return stored


async def _unpacked(request: Request) -> AsyncIterator[bytes]:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise HttpRefused(400, f"content encoding {encoding[:20]} is not supported")
    unpack = zlib.decompressobj(31) if encoding == "gzip" else None
    async for chunk in request.stream():
        if unpack is None:
            yield chunk
            continue
        while chunk:
            try:
                yield unpack.decompress(chunk, CHUNK)
            except zlib.error:
                raise HttpRefused(400, "the body is no gzip") from None
            chunk = unpack.unconsumed_tail


async def _store(
    sandbox: Sandbox, path: str, chunks: AsyncIterator[bytes], metadata: dict[str, str]
) -> dict[str, Any]:
    call = sandbox.link.call("write", path=path, metadata=metadata)
    try:
        async for chunk in chunks:
            for start in range(0, len(chunk), CHUNK):
                call.send({}, chunk[start : start + CHUNK])
                await call.flow()
        call.send({"last": True})
        entry: Any = None
        async for header, _ in call:
            entry = header.get("entry")
    finally:
        call.cancel()
    if not isinstance(entry, dict):
        raise HttpRefused(502, "the sandbox answered nonsense")
    metadata = {"metadata": entry["metadata"]} if "metadata" in entry else {}
    return {"path": str(entry.get("path")), "name": str(entry.get("name")), "type": "file", **metadata}


def _sandbox_of(request: Request, operation: str) -> Sandbox:
    query = request.query_params
    user = query.get("username", "")
    if user not in USERS:
        raise HttpRefused(401, f"there is no user {user[:40]!r}: sandboxes have one, named user")
    if "signature" in query:
        return _signed(request, operation, user)
    try:
        user_of(request)
    except RpcError as error:
        raise HttpRefused(401, str(error)) from None
    return opened(request, ENVD)


def _signed(request: Request, operation: str, user: str) -> Sandbox:
    query = request.query_params
    path, expiration = query.get("path", ""), query.get("signature_expiration")
    if expiration is not None and not (
        expiration.isascii() and expiration.isdigit() and len(expiration) < 16
    ):
        raise HttpRefused(401, "the signature's expiration is malformed")
    if expiration is not None and int(expiration) < time.time():
        raise HttpRefused(401, "the signature has expired")
    signature = query["signature"].encode()
    for sandbox in sandboxes(request).all():
        if hmac.compare_digest(signature, sandbox.signed(path, operation, user, expiration).encode()):
            return sandbox
    raise HttpRefused(401, "the signature is of no sandbox here")


ROUTES = [
    Route("/files", download, methods=["GET"]),
    Route("/files", upload, methods=["POST"]),
]
