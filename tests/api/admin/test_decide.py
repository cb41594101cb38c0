"""G5 at the doors without a workflow: policy decides and its answer is stored before anything is changed.

The whole edge with the real OPA, and the real database watched by triggers of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from api.deps import AppDeps
from channels import registry
from entrypoints.serve.api import make_edge
from entrypoints.serve.wiring import Foundation
from operations.rules.bundle import write_bundle
from portico.contracts.messages import ConversationRef, Envelope
from portico.contracts.steps import KeptEvent
from portico.crypto.keyring import open_keyring
from portico.settings.connections import Connections
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.storage.dead_letters import DeadLetter
from portico.storage.engine.database import Database
from tests.policies.opa_server import TOKEN, OpaServer, opa_binary, running_opa

NOBODY_LISTENS = "127.0.0.1:1"
NOW = time.time()
DECIDED_FIRST = """
CREATE TEMP TRIGGER {table}_{event}_decided BEFORE {event} ON main.{table}
WHEN NOT EXISTS (SELECT 1 FROM main.decisions WHERE question = 'admin' AND effect = 'allow')
BEGIN SELECT RAISE(ABORT, 'changed before it was decided'); END
"""
EFFECTS = (
    ("people", "INSERT"),
    ("identities", "INSERT"),
    ("login_links", "INSERT"),
    ("dead_letters", "UPDATE"),
)
NOTHING_IS_RECORDED = """
CREATE TEMP TRIGGER decisions_fail BEFORE INSERT ON main.decisions
BEGIN SELECT RAISE(ABORT, 'the decision cannot be stored'); END
"""


@dataclass(frozen=True)
class Edge:
    """The edge, with one thing waiting at each of its doors."""

    app: FastAPI
    deps: AppDeps
    database: Database
    code: str
    keys: dict[str, str]

    async def post(self, path: str, role: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.post(
                path, json=body, headers={"Authorization": f"Bearer {self.keys[role]}"} if role else {}
            )

    async def knock(self, door: str, role: str) -> httpx2.Response:
        path, body = DOORS[door]
        return await self.post(path, role, {**body, "code": self.code} if body else None)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        return await self.database.read(
            lambda connection: [
                {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row of the database, not a dict
                for row in connection.execute(query)
            ]
        )

    async def decisions(self) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM decisions ORDER BY at")

    async def effects(self) -> dict[str, list[dict[str, Any]]]:
        """All that the doors could have changed."""
        return {
            "identities": await self.rows("SELECT * FROM identities"),
            "people": await self.rows("SELECT * FROM people ORDER BY id"),
            "codes": await self.rows("SELECT * FROM pairing_codes"),
            "guesses": await self.rows("SELECT * FROM guesses"),
            "links": await self.rows("SELECT * FROM login_links"),
            "letters": await self.rows("SELECT * FROM dead_letters"),
        }

    async def watch(self, *triggers: str) -> None:
        for trigger in triggers:
            await self.database.write(lambda connection, sql=trigger: connection.execute(sql))  # type: ignore[misc]


DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "pair.approve": ("/v1/pairing/approve", {"role": "member"}),
    "dead_letter.retry": ("/v1/dead-letters/letter-1/retry", {}),
    "dead_letter.drop": ("/v1/dead-letters/letter-1/drop", {}),
    "login_link.create": ("/v1/login-links", {}),
}
OWNERS = tuple(door for door in DOORS if door != "login_link.create")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the edge logs of a failure takes seconds to print."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


@pytest.fixture
def opa(home: Home) -> Iterator[OpaServer]:
    write_bundle(home, TOKEN, opa_binary())
    with running_opa(home) as server:
        yield server


@pytest.fixture
async def edge(home: Home, opa: OpaServer) -> AsyncIterator[Edge]:
    settings = load_settings(home)
    keyring = open_keyring(home)
    database = Database.open(home, keyring)
    ground = Foundation(
        home=home,
        settings=settings,
        keyring=keyring,
        connections=_connections(opa),
        database=database,
        resolve=str,
        accounts=registry.accounts(settings, str),
    )
    app = await make_edge(ground)
    deps: AppDeps = app.state.deps
    keys = {role: await deps.access.create_key(role, role) for role in ("admin", "member", "service")}
    keys["owner"] = home.cli_key.read_text()
    code = await deps.people.offer_code("telegram", "default", "sender-9", "Ada", "chat-9", now=NOW)
    await deps.dead_letters.add(_letter())
    yield Edge(app, deps, database, code, keys)
    await deps.policy.close()
    database.close()


def _connections(opa: OpaServer) -> Connections:
    """OPA is there; what no door of these tests needs is not."""
    return Connections(
        temporal=NOBODY_LISTENS,
        namespace="default",
        opa_url=opa.url,
        opa_token=SecretStr(TOKEN),
        triton=NOBODY_LISTENS,
        s3_url=f"http://{NOBODY_LISTENS}",
        s3_access_key="none",
        s3_secret_key=SecretStr("none"),
        bucket="portico",
    )


def _letter() -> DeadLetter:
    conversation = ConversationRef(id="c-1", channel="telegram", account="default", chat="chat-9")
    event = KeptEvent(conversation=conversation, envelope=Envelope(body={"text": "hello"}))
    return DeadLetter(
        id="letter-1",
        conversation_id="c-1",
        turn_id="turn-1",
        channel="telegram",
        account="default",
        code="internal",
        cause="it failed",
        event_json=event.model_dump_json(),
        created_at=NOW,
    )


# --- refused -----------------------------------------------------------------------------------------


async def test_who_is_no_admin_is_refused_and_nothing_is_done(edge: Edge) -> None:
    before = await edge.effects()
    for role in ("member", "service"):
        for door in OWNERS:
            answer = await edge.knock(door, role)
            assert answer.status_code == 403
            assert answer.json()["title"] == "for owner and admins only"
    assert await edge.effects() == before
    told = [(row["question"], row["effect"]) for row in await edge.decisions()]
    assert told == [("admin", "deny")] * 6


async def test_without_a_key_policy_is_not_even_asked(edge: Edge) -> None:
    for door in DOORS:
        assert (await edge.knock(door, "")).status_code == 401
    assert await edge.decisions() == []


async def test_an_admin_makes_no_other_admin(edge: Edge) -> None:
    before = await edge.effects()
    answer = await edge.post("/v1/pairing/approve", "admin", {"code": edge.code, "role": "admin"})
    assert answer.status_code == 403
    assert answer.json()["title"] == "only the owner gives the power of an owner or admin away"
    assert await edge.effects() == before
    assert (await edge.knock("pair.approve", "admin")).status_code == 200


async def test_a_key_with_less_power_gets_no_session_with_more(edge: Edge) -> None:
    owner = await edge.deps.people.ensure_owner()
    edge.keys["small"] = await edge.deps.access.create_key("member", "small", person_id=owner)
    assert (await edge.knock("login_link.create", "small")).status_code == 403
    assert (await edge.effects())["links"] == []


async def test_a_program_gets_no_login_link(edge: Edge) -> None:
    assert (await edge.knock("login_link.create", "service")).status_code == 403
    assert (await edge.effects())["links"] == []


@pytest.mark.parametrize("said", ['deny contains "not today" if true', 'ask contains "not today" if true'])
async def test_rules_of_ones_own_bind_the_owner(edge: Edge, home: Home, said: str) -> None:
    (home.policies / "mine.rego").write_text(f"package portico.user.admin\n\n{said}\n")
    revision = write_bundle(home, TOKEN, opa_binary()).revision
    end = time.monotonic() + 5
    while await edge.deps.policy.revision() != revision:
        assert time.monotonic() < end, "OPA did not load the new bundle"
        await asyncio.sleep(0.01)
    before = await edge.effects()
    for door in DOORS:
        answer = await edge.knock(door, "owner")
        assert (answer.status_code, answer.json()["title"]) == (403, "not today")
    assert await edge.effects() == before


# --- away --------------------------------------------------------------------------------------------


async def test_while_opa_is_away_nothing_is_done(edge: Edge, opa: OpaServer) -> None:
    before = await edge.effects()
    opa.process.kill()
    opa.process.wait()
    for door in DOORS:
        answer = await edge.knock(door, "owner")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
    assert await edge.effects() == before
    assert await edge.decisions() == []


async def test_what_cannot_be_recorded_is_not_done(edge: Edge) -> None:
    await edge.watch(NOTHING_IS_RECORDED)
    before = await edge.effects()
    for door in DOORS:
        assert (await edge.knock(door, "owner")).status_code >= 500
    assert await edge.effects() == before


# --- recorded, then done -----------------------------------------------------------------------------


async def test_each_change_is_made_after_its_decision_is_stored(edge: Edge) -> None:
    await edge.watch(*(DECIDED_FIRST.format(table=table, event=event) for table, event in EFFECTS))
    with pytest.raises(Exception, match="changed before it was decided"):
        await edge.deps.dead_letters.close("letter-1", "dropped")
    for door, status in (("pair.approve", 200), ("dead_letter.drop", 200), ("login_link.create", 201)):
        await edge.database.write(lambda connection: connection.execute("DELETE FROM decisions"))
        assert (await edge.knock(door, "owner")).status_code == status
    after = await edge.effects()
    assert [identity["sender_id"] for identity in after["identities"]] == ["sender-9"]
    assert [letter["closed_how"] for letter in after["letters"]] == ["dropped"]
    assert len(after["links"]) == 1


async def test_a_retry_is_decided_before_it_is_signalled(edge: Edge) -> None:
    """Nobody listens where Temporal should be, so the signal fails; the decision is there by then."""
    assert (await edge.knock("dead_letter.retry", "owner")).status_code >= 500
    assert [row["effect"] for row in await edge.decisions()] == ["allow"]
    assert [letter["closed_at"] for letter in (await edge.effects())["letters"]] == [None]


async def test_a_member_makes_a_login_link_for_themselves(edge: Edge) -> None:
    answer = await edge.knock("login_link.create", "member")
    assert answer.status_code == 201
    session = await edge.deps.access.redeem_login(answer.json()["path"].partition("token=")[2])
    assert session is not None
    found = await edge.deps.access.session(session)
    assert found is not None and found.role == "member"


async def test_the_row_tells_rules_reasons_and_what_it_was_about(edge: Edge) -> None:
    for letter in ("letter-1", "letter-2"):
        await edge.post(f"/v1/dead-letters/{letter}/drop", "owner")
    first, second = await edge.decisions()
    assert first["reasons"] == '["owner and admins look after this"]'
    assert first["revision"] == second["revision"] == await edge.deps.policy.revision()
    assert len(first["decision_id"]) == 32 and first["decision_id"] != second["decision_id"]
    assert first["input_digest"] != second["input_digest"]
    assert len(first["input_digest"]) == len(second["input_digest"]) == 64
