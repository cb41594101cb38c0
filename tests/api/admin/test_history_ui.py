"""The history UI and its codec: read by the owner's session, and by nobody and nothing else."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from portico.crypto.keyring import open_keyring
from portico.temporal.codec import EncryptionCodec
from tests.api.conftest import EdgeStack

SAID = "something that nobody else may read"


@pytest.fixture
def browser(edge: EdgeStack, owner: httpx2.Client) -> Iterator[httpx2.Client]:
    with edge.browser(owner) as signed_in:
        yield signed_in


def sealed(edge: EdgeStack, text: str) -> dict[str, Any]:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())
    codec = EncryptionCodec(open_keyring(edge.running.home))
    document: dict[str, Any] = json_format.MessageToDict(Payloads(payloads=[codec.encrypt(plain)]))
    return document


def opened(answer: httpx2.Response) -> str:
    return str(json.loads(base64.b64decode(answer.json()["payloads"][0]["data"])))


# --- codec -------------------------------------------------------------------------------------------


def test_the_owners_session_reads_in_clear(edge: EdgeStack, browser: httpx2.Client) -> None:
    answer = browser.post("/codec/decode", json=sealed(edge, SAID), headers={"Origin": edge.url})
    assert answer.status_code == 200
    assert opened(answer) == SAID


def test_what_was_encoded_is_decoded(browser: httpx2.Client) -> None:
    plain = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "ImhpIg=="}]}
    encoded = browser.post("/codec/encode", json=plain)
    assert "ImhpIg==" not in encoded.text
    assert opened(browser.post("/codec/decode", json=encoded.json())) == "hi"


def test_nobody_else_reads_in_clear(edge: EdgeStack, browser: httpx2.Client, stranger: httpx2.Client) -> None:
    payload = sealed(edge, SAID)
    refusals = [stranger.post("/codec/decode", json=payload)]
    for origin in ("https://evil.example", "null"):
        refusals.append(browser.post("/codec/decode", json=payload, headers={"Origin": origin}))
    for role in ("member", "guest", "service", "auditor"):
        with edge.person(edge.key(role)) as person:
            refusals.append(person.post("/codec/decode", json=payload))
    assert [answer.status_code for answer in refusals] == [401] * 3 + [403] * 4
    assert not any(SAID in answer.text for answer in refusals)


def test_no_other_origin_is_allowed_to_read_the_answer(edge: EdgeStack, browser: httpx2.Client) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    asked = browser.options("/codec/decode", headers=headers)
    assert not any(name.startswith("access-control") for name in asked.headers)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"payloads": 7}',
        b'{"unknown": []}',
    ],
)
def test_what_are_no_payloads_is_a_bad_request(browser: httpx2.Client, body: bytes) -> None:
    for door in ("/codec/decode", "/codec/encode"):
        answer = browser.post(door, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


def test_a_payload_that_no_key_opens_stays_as_it_is(edge: EdgeStack, browser: httpx2.Client) -> None:
    good = sealed(edge, SAID)["payloads"][0]
    damaged = {**good, "data": base64.b64encode(b"x" * 64).decode()}
    short = {**good, "data": ""}
    foreign = {**good, "metadata": {**good["metadata"], "key-id": "bm9zdWNo"}}
    odd = {**good, "metadata": {**good["metadata"], "key-id": "/////w=="}}
    payloads = [damaged, short, foreign, odd, good]
    answer = browser.post("/codec/decode", json={"payloads": payloads})
    assert answer.status_code == 200
    told = answer.json()["payloads"]
    assert [each.get("data", "") for each in told[:4]] == [each["data"] for each in payloads[:4]]
    assert json.loads(base64.b64decode(told[4]["data"])) == SAID


# --- the history UI ----------------------------------------------------------------------------------


def test_the_owner_sees_a_turn_and_its_payloads_are_not_in_clear(
    edge: EdgeStack, owner: httpx2.Client, browser: httpx2.Client
) -> None:
    text = f"a note {uuid.uuid4().hex}"
    body = {"text": text, "conversation": "history"}
    url = owner.post("/v1/messages", params={"wait_s": 20}, json=body).json()["history_url"]
    assert browser.get(url).status_code == 200
    workflow = url.rpartition("/")[2]
    api = f"/temporal/api/v1/namespaces/default/workflows/{workflow}/history"
    history = browser.get(api)
    assert history.status_code == 200
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED" in history.text
    assert text not in history.text
    assert base64.b64encode(text.encode())[:20].decode() not in history.text


def test_the_page_and_all_that_it_loads_come_from_here(edge: EdgeStack, browser: httpx2.Client) -> None:
    page = browser.get("/temporal/")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    script = next(part for part in page.text.split('"') if part.startswith("/temporal/_app/"))
    assert browser.get(script).status_code == 200


def test_its_codec_is_where_the_page_came_from(edge: EdgeStack, browser: httpx2.Client) -> None:
    for host in (edge.url.removeprefix("http://"), "portico.example"):
        settings = browser.get("/temporal/api/v1/settings", headers={"Host": host}).json()
        assert settings["Codec"]["Endpoint"] == f"http://{host}/codec"
        assert settings["Codec"]["PassAccessToken"] is False
        assert settings["DisableWriteActions"] is True
        assert settings["DisableNewsFetch"] is True


def test_nobody_else_sees_the_history(
    edge: EdgeStack, browser: httpx2.Client, stranger: httpx2.Client
) -> None:
    for path in ("/temporal", "/temporal/", "/temporal/api/v1/namespaces", "/temporal/_app/version.json"):
        assert stranger.get(path).status_code == 401
        assert browser.get(path, headers={"Origin": "https://evil.example"}).status_code == 401
        with edge.person(edge.key("member")) as member:
            assert member.get(path).status_code == 403


ACTIONS = ["terminate", "cancel", "signal/receive", "reset", "update/x", "query/x", "pause"]


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_changed_through_the_history(
    edge: EdgeStack, owner: httpx2.Client, browser: httpx2.Client, action: str
) -> None:
    body = {"text": "hello", "conversation": "acted-on"}
    url = owner.post("/v1/messages", params={"wait_s": 20}, json=body).json()["history_url"]
    workflow = url.rpartition("/")[2]
    path = f"/temporal/api/v1/namespaces/default/workflows/{workflow}/{action}"
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for who in (owner, browser):
            assert who.request(method, path, json={}).status_code in (403, 404, 405)
    description = browser.get(f"/temporal/api/v1/namespaces/default/workflows/{workflow}").json()
    assert description["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"


@pytest.mark.parametrize(
    "path",
    [
        "/temporal/%00",
        "/temporal/%0d%0aHost:%20evil",
        "/temporal/..%2f..%2fapi",
        "/temporal//evil.example/",
        "/temporal/@evil.example/",
        "/temporal/%5c%5cevil.example",
        "/temporal/?x=%00%ff",
        "/temporal/" + "a" * 30_000,
    ],
)
def test_odd_paths_lead_nowhere(browser: httpx2.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code < 500
    assert "evil" not in answer.headers.get("location", "")
