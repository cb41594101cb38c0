"""`/webhooks/{channel}[/{account}]`: verify, decrypt, split, store, and only then ack.

Needs no database, no console and no content key, so that this group can stand alone in front.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response

from api.body import read_body
from api.deps import WebhookDeps, Webhooks
from channels.base import Account, Channel, HttpAnswer, RawRequest, Shows
from channels.registry import descriptor, load
from portico.contracts.messages import InboundEvent
from portico.errors import NotFound, PorticoError, Refused

router = APIRouter(tags=["webhooks"])

_ACKNOWLEDGING: set[asyncio.Task[None]] = set()
"""Tasks are held here while they run: the loop itself keeps only weak references."""


@router.get("/webhooks/{channel}", response_class=Response)
@router.post("/webhooks/{channel}", response_class=Response)
async def receive_default(channel: str, request: Request, deps: Webhooks) -> Response:
    """A platform's webhook for the account `default`."""
    return await _receive(channel, "default", request, deps)


@router.get("/webhooks/{channel}/{account}", response_class=Response)
@router.post("/webhooks/{channel}/{account}", response_class=Response)
async def receive(channel: str, account: str, request: Request, deps: Webhooks) -> Response:
    """A platform's webhook for a named account."""
    return await _receive(channel, account, request, deps)


async def _receive(channel_name: str, account_name: str, request: Request, deps: WebhookDeps) -> Response:
    started = time.perf_counter()
    described = descriptor(channel_name)
    if not described.webhook:
        raise NotFound("such a webhook")
    source = request.client.host if request.client else ""
    try:
        deps.limits.check_source(source)
        raw = await _raw(request, limit_bytes=described.body_bytes)
        account = _account(deps, channel_name, account_name)
        ack = await _handle(load(channel_name), raw, account, deps)
    except PorticoError as error:
        if isinstance(error, Refused):
            deps.limits.failed(source)
        deps.metrics.events.labels(channel_name, error.code).inc()
        raise
    deps.metrics.ack_s.labels(channel_name).observe(time.perf_counter() - started)
    return Response(ack.body, status_code=ack.status, media_type=ack.media_type)


async def _raw(request: Request, *, limit_bytes: int) -> RawRequest:
    return RawRequest(
        method=request.method,
        path=request.url.path,
        headers=dict(request.headers),
        query=dict(request.query_params),
        body=await read_body(request, limit_bytes=limit_bytes),
    )


def _account(deps: WebhookDeps, channel: str, name: str) -> Account:
    """An account that does not exist is refused like a forged request, so that names cannot be guessed."""
    try:
        return deps.accounts.get(channel, name)
    except NotFound:
        raise Refused("no such account") from None


async def _handle(channel: Channel, raw: RawRequest, account: Account, deps: WebhookDeps) -> HttpAnswer:
    received = channel.receive(raw, account)
    if received.handshake is not None:
        return received.handshake
    for event in received.events:
        deps.limits.check_sender(f"{event.channel}:{event.account}:{event.chat}")
    await deps.intake.store_all(received.events)
    if deps.acknowledges:
        _acknowledge(channel, received.events, account)
    end = "stored" if received.events else f"quiet_{received.quiet or 'empty'}"
    deps.metrics.events.labels(account.channel, end).inc(max(1, len(received.events)))
    return received.ack


def _acknowledge(channel: Channel, events: tuple[InboundEvent, ...], account: Account) -> None:
    """Acknowledge a pressed button to the platform, besides the webhook's own ack; best effort, raises nothing."""
    if not isinstance(channel, Shows):
        return
    for event in events:
        task = asyncio.create_task(channel.acknowledge(event, account))
        _ACKNOWLEDGING.add(task)
        task.add_done_callback(_ACKNOWLEDGING.discard)
