"""Conversations of the web channel: which one a person means, and what was said in it.

A person names a conversation by a short name of their own ("main" where they give none). The chat's address
contains the person, so that nobody can name another person's conversation.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.deps import App, AppDeps, Person
from channels.facts import WEB
from portico.contracts.messages import Outgoing
from portico.errors import BadInput
from portico.storage.access import Principal
from portico.storage.outbox_rows import OutboxRow

router = APIRouter(tags=["conversations"])

MAIN = "main"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ConversationInfo(BaseModel):
    """One conversation in a list."""

    name: str
    title: str
    last_at: float
    history_url: str


class SaidLine(BaseModel):
    """One line of a conversation. `parts` is set for replies, `message_id` for what a person said."""

    role: str
    text: str
    at: float
    turn: str
    message_id: str = ""
    seq: int = 0
    parts: list[dict[str, Any]] = []


def chat_of(person: Principal, name: str | None) -> str:
    """The chat's address. Raises `BadInput` for a name that is none."""
    name = name or MAIN
    if not NAME.fullmatch(name):
        raise BadInput("a conversation's name is 1 to 64 letters, digits, '_' or '-'")
    return f"{person.person_id}:{name}"


def workflow_of(deps: AppDeps, person: Principal, name: str | None) -> str:
    return deps.intake.conversation_id(channel=WEB, account="default", chat=chat_of(person, name))


def history_url(deps: AppDeps, workflow_id: str) -> str:
    """Where the history UI shows this workflow, below the edge's own address."""
    return f"/temporal/namespaces/{deps.connections.namespace}/workflows/{workflow_id}"


def turn_of_row(row: OutboxRow) -> str:
    """Deliveries of one turn are told apart by what follows the dot."""
    return row.turn_id.partition(".")[0]


def reply_frame(row: OutboxRow) -> dict[str, Any]:
    """A stored reply as the socket and `POST /v1/messages` give it."""
    payload = Outgoing.model_validate_json(row.payload).payload
    return {"seq": row.seq, "turn": turn_of_row(row), "kind": row.kind, "at": row.finished_at, **payload}


@router.get("/v1/conversations")
async def list_conversations(deps: App, person: Person) -> list[ConversationInfo]:
    """This person's conversations, the latest first."""
    found = await deps.memory.conversations(WEB, chat_prefix=f"{person.person_id}:")
    return [
        ConversationInfo(
            name=summary.chat.partition(":")[2],
            title=summary.title,
            last_at=summary.last_at,
            history_url=history_url(deps, summary.id),
        )
        for summary in found
    ]


@router.get("/v1/conversations/{name}/messages")
async def read_conversation(
    name: str,
    deps: App,
    person: Person,
    before: float | None = None,
    limit: int = Query(50, ge=1, le=200),
    q: str = Query("", max_length=200),
) -> list[SaidLine]:
    """The last lines of a conversation in order, older ones with `before` (seconds since the epoch).

    With `q`, the last remembered lines that have all its words.
    """
    workflow_id = workflow_of(deps, person, name)
    if q:
        lines = await deps.memory.search(workflow_id, q, limit=limit)
    else:
        lines = await deps.memory.history(workflow_id, before=before, limit=limit)
    return [
        SaidLine(
            role=line.role,
            text=line.text,
            at=line.at,
            turn=line.turn_id.partition(".")[0],
            message_id=line.message_id,
            seq=line.seq,
            parts=_parts(line.payload),
        )
        for line in lines
    ]


def _parts(payload: str) -> list[dict[str, Any]]:
    if not payload:
        return []
    outgoing = orjson.loads(payload)
    parts = outgoing.get("payload", {}).get("parts", [])
    return parts if isinstance(parts, list) else []


@asynccontextmanager
async def replies_of(deps: AppDeps, workflow_id: str, *, after: int) -> AsyncIterator[Replies]:
    """Replies with a sequence number over `after`, then live updates, none missed in between."""
    with deps.live.subscribe(workflow_id) as updates:
        yield Replies(deps, workflow_id, updates, after=after)


class Replies:
    """Reads the outbox in order of its sequence numbers; a wake-up tells when to look."""

    def __init__(
        self, deps: AppDeps, workflow_id: str, updates: AsyncIterator[dict[str, Any]], *, after: int
    ) -> None:
        self._outbox = deps.outbox
        self._workflow_id = workflow_id
        self.updates = updates
        self.seq = after

    async def unread(self) -> list[OutboxRow]:
        rows = list(await self._outbox.tail(self._workflow_id, self.seq))
        if rows:
            self.seq = rows[-1].seq
        return rows
