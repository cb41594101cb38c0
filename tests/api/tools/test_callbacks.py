"""From `callbackUrl` at the door to the receiver, through a whole stack."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from temporalio.client import Client

from portico.crypto.keyring import open_keyring
from portico.storage.engine.database import Database
from portico.storage.secrets import SecretStore
from tests.api.tools.support import Doors
from tests.fakes.hook import status


@pytest.fixture
def signed(doors: Doors) -> Doors:
    """The receiver knows the installation's secret."""

    async def read() -> str | None:
        database = Database.open(doors.running.home, open_keyring(doors.running.home))
        try:
            return await SecretStore(database).get("callbacks")
        finally:
            database.close()

    printed = doors.running.run("tools", "callback-secret")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.strip() == asyncio.run(read())
    doors.receiver.secret = printed.stdout.strip()
    return doors


def invoke(http: httpx2.Client, url: str, **more: Any) -> httpx2.Response:
    body = {"toolName": "calculator", "parameters": {"expression": "6*7"}, "callbackUrl": url, **more}
    return http.post("/v1/invocations", json=body, params={"wait_s": 20})


def test_a_result_is_posted_and_read_meanwhile(signed: Doors) -> None:
    receiver = signed.receiver
    receiver.script("reply", status(503, taken=True))
    with signed.client(signed.key("member")) as http:
        answer = invoke(http, receiver.reply_url)
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
        invocation_id = answer.json()["invocationId"]
        read = http.get(f"/v1/invocations/{invocation_id}").json()
        assert read["output"]["result"] == "42"
    receiver.wait_until(
        lambda: [post.id for post in receiver.posts].count(invocation_id) == 2, timeout_s=30, what="two posts"
    )
    first, second = [post for post in receiver.posts if post.id == invocation_id]
    assert first.verified and second.verified
    assert first.body == second.body
    assert first.body["type"] == "invocation.ended"
    assert first.data == read


def test_a_large_result_is_posted_whole(signed: Doors) -> None:
    with signed.client(signed.key("member")) as http:
        answer = invoke(http, signed.receiver.reply_url, toolName="fill", parameters={"size": 500_000})
    invocation_id = answer.json()["invocationId"]
    posts = signed.receiver.posts
    signed.receiver.wait_until(lambda: any(post.id == invocation_id for post in posts), timeout_s=20)
    (posted,) = [post for post in posts if post.id == invocation_id]
    assert posted.data["output"] == "x" * 500_000


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.example.com/x", "nothing leaves this machine (local_only)"),
        ("http://127.0.0.1:1/x", "nothing leaves this machine (local_only)"),
        ("http://169.254.169.254/latest/", "nothing leaves this machine (local_only)"),
        ("http://2130706433/", "neither a name nor an address"),
        ("https://user:secret@example.com/", "without user and password"),
        ("ftp://example.com/", "only http and https"),
        ("https://example.com/" + "x" * 3000, "longer than 2048"),
    ],
)
def test_the_door_refuses_what_can_never_be_posted_to(doors: Doors, url: str, words: str) -> None:
    before = len(doors.receiver.posts)
    with doors.client(doors.key("member")) as http:
        answer = invoke(http, url)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_input")
        assert words in answer.json()["title"]
        named = http.post("/v1/tools/calculator/invocations", json={"parameters": {}, "callbackUrl": url})
        assert named.status_code == 400 or named.status_code == 422
    assert len(doors.receiver.posts) == before


async def test_the_history_tells_of_decision_and_posting(signed: Doors) -> None:
    key = await asyncio.to_thread(signed.key, "member")
    with signed.client(key) as http:
        answer = await asyncio.to_thread(invoke, http, signed.receiver.reply_url)
    client = await Client.connect(signed.running.address("temporal"))
    handle = client.get_workflow_handle(answer.json()["invocationId"])
    names = []
    async with asyncio.timeout(20):
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField("marker_recorded_event_attributes"):
                names.append("a local step")
            if event.HasField("activity_task_scheduled_event_attributes"):
                names.append(event.activity_task_scheduled_event_attributes.activity_type.name)
    assert names == ["a local step", "calculator", "a local step", "post_callback"]


def test_who_cancels_the_run_ends_the_repeating(signed: Doors) -> None:
    receiver = signed.receiver
    receiver.script("reply", status(503, taken=True), times=50)
    try:
        with signed.client(signed.key("member")) as http:
            invocation_id = invoke(http, receiver.reply_url).json()["invocationId"]
            receiver.wait_until(lambda: any(post.id == invocation_id for post in receiver.posts))
            ended = http.post(f"/v1/invocations/{invocation_id}/cancel", params={"wait_s": 10})
            assert ended.json()["status"] == "succeeded"
            seen = [post.id for post in receiver.posts].count(invocation_id)
            asyncio.run(closed(signed, invocation_id))
            assert http.get(f"/v1/invocations/{invocation_id}").json()["status"] == "succeeded"
        assert [post.id for post in receiver.posts].count(invocation_id) <= seen + 1
    finally:
        receiver.clear_script()


async def closed(doors: Doors, invocation_id: str) -> None:
    client = await Client.connect(doors.running.address("temporal"))
    async with asyncio.timeout(20):
        async for _ in client.get_workflow_handle(invocation_id).fetch_history_events(wait_new_event=True):
            pass
