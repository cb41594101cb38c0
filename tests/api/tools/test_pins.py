"""Approving what a tool of an MCP server says of itself: who may, what exactly, and by the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portico.crypto.keyring import open_keyring
from portico.storage.engine.database import Database
from portico.storage.mcp_pins import Described, McpPins
from tests.api.tools.support import Doors

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}


@contextmanager
def database(doors: Doors) -> Iterator[Database]:
    opened = Database.open(doors.running.home, open_keyring(doors.running.home))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def changed(doors: Doors, request: pytest.FixtureRequest) -> Described:
    """A tool of a server of this test's own, which says something else than when it was met."""
    name = f"ghost_{abs(hash(request.node.name)) % 10**8}"
    before = Described(name=name, tool="x", description="Says it.", parameters=TEXT)
    after = Described(name=name, tool="x", description="Says it, and more.", parameters=TEXT)

    async def meet() -> None:
        with database(doors) as opened:
            for seen in (before, after):
                await McpPins(opened).meet(name, "somewhere", [seen])

    asyncio.run(meet())
    return after


def test_only_owner_and_admins_read_and_approve(doors: Doors, changed: Described) -> None:
    path = f"/v1/tools/{changed.name}/pin"
    for role in ("member", "service", "guest"):
        with doors.client(doors.key(role)) as person:
            assert person.get(path).status_code == 403
            answer = person.post(path, json={"content_hash": changed.content_hash})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    with doors.client() as owner:
        pin = owner.get(path).json()
    assert pin["approved"]["description"] == "Says it."
    assert pin["pending"]["description"] == "Says it, and more."


def test_exactly_what_was_read_is_approved_and_recorded(doors: Doors, changed: Described) -> None:
    path = f"/v1/tools/{changed.name}/pin"
    with doors.client() as owner:
        other = owner.post(path, json={"content_hash": "0" * 64})
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert owner.post(path, json={"content_hash": "short"}).status_code == 422
        assert owner.post("/v1/tools/calculator/pin", json={"content_hash": "0" * 64}).status_code == 404
        approved = owner.post(path, json={"content_hash": changed.content_hash})
        assert approved.status_code == 200
        assert approved.json()["approved"]["description"] == "Says it, and more."
        assert approved.json()["pending"] is None
        assert owner.post(path, json={"content_hash": changed.content_hash}).status_code == 409
    with database(doors) as opened:
        found = asyncio.run(
            opened.read(
                lambda connection: connection.execute(
                    "SELECT decisions.effect, decisions.question FROM mcp_pins JOIN decisions USING (decision_id) "
                    "WHERE name = ?",
                    (changed.name,),
                ).fetchone()
            )
        )
    assert tuple(found) == ("allow", "admin")


def test_the_command_shows_the_difference_and_asks(doors: Doors, changed: Described) -> None:
    shown = doors.running.run("tools", "approve", changed.name, stdin="n\n")
    assert "-Says it.\n" in shown.stdout
    assert "+Says it, and more.\n" in shown.stdout
    assert "approved" not in shown.stdout
    approved = doors.running.run("tools", "approve", changed.name, "--yes")
    assert approved.returncode == 0
    assert f"{changed.name}: approved\n" in approved.stdout
    again = doors.running.run("tools", "approve", changed.name)
    assert again.stdout == f"{changed.name}: nothing has changed\n"
    missing = doors.running.run("tools", "approve", "calculator")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
