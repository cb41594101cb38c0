"""Who one is at the edge: keys, login links, sessions, and that nobody reads what another said."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx2
import pytest

from api.deps import SESSION_COOKIE
from portico.storage.access import LOGIN_VALID_S, Access
from portico.storage.engine.database import Database
from tests.api.conftest import EdgeStack

SECRET_TEXT = "my locker has the number 4711"


def say(client: httpx2.Client, text: str, **more: Any) -> Any:
    answer = client.post("/v1/messages", params={"wait_s": 20}, json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer pk_", "bearer pk_forged", "Token pk_forged", "Bearer \u00e9"]
)
def test_what_is_no_key_is_refused(stranger: httpx2.Client, header: str) -> None:
    answer = stranger.get("/v1/me", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_is_dead_at_once(edge: EdgeStack) -> None:
    key = edge.key("member", "to be revoked")
    with edge.person(key) as person:
        assert person.get("/v1/me").status_code == 200
        listed = edge.database(lambda database: Access(database).list())
        key_id = next(one.id for one in listed if one.name == "to be revoked")
        assert edge.running.run("keys", "revoke", key_id).returncode == 0
        assert person.get("/v1/me").status_code == 401
        assert person.post("/v1/messages", json={"text": "still here?"}).status_code == 401


# --- login links and sessions ------------------------------------------------------------------------


def test_a_login_link_works_once(edge: EdgeStack, owner: httpx2.Client, stranger: httpx2.Client) -> None:
    link = owner.post("/v1/login-links").json()["path"]
    first = stranger.get(link)
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert stranger.get("/v1/me").json()["role"] == "owner"
    with edge.stranger() as late:
        again = late.get(link)
        assert (again.status_code, again.json()["code"]) == (401, "refused")
        assert SESSION_COOKIE not in again.cookies


def test_a_login_link_expires(edge: EdgeStack, owner: httpx2.Client, stranger: httpx2.Client) -> None:
    person = owner.get("/v1/me").json()["person"]

    async def old_link(database: Database) -> str:
        return await Access(database, clock=lambda: time.time() - LOGIN_VALID_S - 1).make_login(person)

    assert stranger.get("/login", params={"token": edge.database(old_link)}).status_code == 401


def test_the_session_is_out_of_reach_for_scripts_and_other_sites(
    owner: httpx2.Client, stranger: httpx2.Client
) -> None:
    link = owner.post("/v1/login-links").json()["path"]
    flags = {part.strip().lower() for part in stranger.get(link).headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert not any(flag.startswith("domain") for flag in flags)


def test_logging_out_ends_the_session_everywhere(edge: EdgeStack, owner: httpx2.Client) -> None:
    with edge.browser(owner) as browser:
        cookie = browser.cookies[SESSION_COOKIE]
        assert browser.post("/v1/logout").status_code == 204
        with edge.stranger() as thief:
            assert thief.get("/v1/me", headers={"Cookie": f"{SESSION_COOKIE}={cookie}"}).status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "file://"])
def test_a_session_is_not_used_from_another_site(edge: EdgeStack, owner: httpx2.Client, origin: str) -> None:
    with edge.browser(owner) as browser:
        for method, path in (("GET", "/v1/conversations"), ("POST", "/v1/messages"), ("POST", "/v1/logout")):
            answer = browser.request(method, path, headers={"Origin": origin}, json={"text": "hello"})
            assert answer.status_code == 401
        assert browser.get("/v1/me", headers={"Origin": edge.url}).status_code == 200


# --- isolation ---------------------------------------------------------------------------------------


def test_nobody_reads_what_another_said(edge: EdgeStack) -> None:
    with edge.person(edge.key("member", "ada")) as ada, edge.person(edge.key("admin", "bob")) as bob:
        said = say(ada, SECRET_TEXT, conversation="private")
        mine = ada.get("/v1/me").json()["person"]
        chats = ("private", f"{mine}:private", f"{mine}%3Aprivate", f"../{mine}:private", "%2e%2e/private")
        for name in (*chats, said["history_url"].rpartition("/")[2]):
            answer = bob.get(f"/v1/conversations/{name}/messages")
            assert answer.status_code in (200, 400, 404)
            assert SECRET_TEXT not in answer.text
            assert answer.status_code != 200 or answer.json() == []
        assert bob.get("/v1/conversations").json() == []
        own = ada.get("/v1/conversations/private/messages").json()
        assert SECRET_TEXT in [line["text"] for line in own]
        assert [one["name"] for one in ada.get("/v1/conversations").json()] == ["private"]


def test_a_message_id_of_another_is_a_message_of_ones_own(edge: EdgeStack) -> None:
    """Who guesses an id neither sees its turn nor keeps its owner from using it."""
    message_id = uuid.uuid4().hex
    with edge.person(edge.key("member", "eve")) as eve, edge.person(edge.key("member", "ada")) as ada:
        first = say(eve, "what is 2 + 2?", id=message_id)
        second = say(ada, "what is 3 + 3?", id=message_id)
    assert first["turn"] != second["turn"]
    assert "6" in second["reply"]["parts"][0]["text"]


def test_no_name_leads_into_another_namespace(person: httpx2.Client) -> None:
    for name in ("a:b", "a/b", "", " ", "a" * 65, "ä", "a\n"):
        answer = person.post("/v1/messages", json={"text": "hello", "conversation": name})
        assert answer.status_code in (400, 422) if name else answer.status_code == 202
