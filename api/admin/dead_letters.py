"""`/v1/dead-letters`: what failed, why, and the way to try it again."""

from __future__ import annotations

import uuid

from fastapi import APIRouter
from pydantic import BaseModel

from api.admin.decide import decide_admin
from api.deps import App, AppDeps, Owner, Person
from portico.contracts.steps import KeptEvent
from portico.errors import Conflict, NotFound
from portico.storage.dead_letters import DeadLetter

router = APIRouter(tags=["dead letters"])


class DeadLetterInfo(BaseModel):
    """A dead letter without its event, which stays in the store."""

    id: str
    conversation: str
    turn: str
    channel: str
    account: str
    code: str
    cause: str
    created_at: float
    can_retry: bool


@router.get("/v1/dead-letters")
async def list_dead_letters(deps: App, person: Owner) -> list[DeadLetterInfo]:
    """Open dead letters, the oldest first."""
    return [_info(letter) for letter in await deps.dead_letters.list()]


@router.post("/v1/dead-letters/{letter_id}/retry", status_code=202)
async def retry(letter_id: str, deps: App, person: Person) -> DeadLetterInfo:
    """Signal the same event again, as a turn of its own."""
    await decide_admin(deps, person, "dead_letter.retry", subject=letter_id)
    letter = await _open_letter(deps, letter_id)
    if not letter.event_json:
        raise Conflict("this failure has no event to try again; `drop` closes it")
    kept = KeptEvent.model_validate_json(letter.event_json)
    # The key is the letter's: two retries at once are one turn.
    envelope = kept.envelope.model_copy(
        update={"turn": uuid.uuid4().hex, "dedup_keys": (f"retry:{letter.id}",)}
    )
    await deps.intake.signal(kept.conversation, envelope)
    await _close(deps, letter, "retried")
    return _info(letter)


@router.post("/v1/dead-letters/{letter_id}/drop")
async def drop(letter_id: str, deps: App, person: Person) -> DeadLetterInfo:
    """Close it without trying again. It stays in the store."""
    await decide_admin(deps, person, "dead_letter.drop", subject=letter_id)
    letter = await _open_letter(deps, letter_id)
    await _close(deps, letter, "dropped")
    return _info(letter)


async def _close(deps: AppDeps, letter: DeadLetter, how: str) -> None:
    """Clear the conversation's attention flag after its last open letter."""
    await deps.dead_letters.close(letter.id, how)
    if not await deps.dead_letters.any_open(letter.conversation_id):
        await deps.intake.settle(letter.conversation_id)


async def _open_letter(deps: AppDeps, letter_id: str) -> DeadLetter:
    letter = await deps.dead_letters.get(letter_id)
    if letter is None:
        raise NotFound("the dead letter")
    if letter.closed_at:
        raise Conflict(f"it was {letter.closed_how} before")
    return letter


def _info(letter: DeadLetter) -> DeadLetterInfo:
    return DeadLetterInfo(
        id=letter.id,
        conversation=letter.conversation_id,
        turn=letter.turn_id,
        channel=letter.channel,
        account=letter.account,
        code=letter.code,
        cause=letter.cause,
        created_at=letter.created_at,
        can_retry=bool(letter.event_json),
    )
