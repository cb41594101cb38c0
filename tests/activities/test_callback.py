"""Posting results against real sockets: what is delivered, what is repeated, and where nothing goes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.boundary import translated
from activities.callback import CallbackSteps
from operations.rules.bundle import write_bundle
from portico.contracts.messages import Actor, ExecutionResult, ExecutionStatus
from portico.contracts.steps import CallbackDone, CallbackInput, CallbackQuestion
from portico.crypto.keyring import open_keyring
from portico.errors import Unavailable
from portico.policy.opa import PolicyClient
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.secrets import SecretStore
from tests.fakes.hook import SECRET, FakeReceiver, delay, drop, status
from tests.policies.opa_server import TOKEN, OpaServer, opa_binary, running_opa
from tests.portico.listeners import Names, OriginServer, Tunnel

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESULT = ExecutionResult(
    invocation_id="tool-abc-1",
    tool_name="calculator",
    status=ExecutionStatus.SUCCEEDED,
    output={"text": "391"},
    started_at=NOW,
    ended_at=NOW,
)

Make = Callable[..., CallbackSteps]


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as server:
        yield server


@pytest.fixture
async def origin() -> AsyncIterator[OriginServer]:
    async with OriginServer() as inner:
        yield inner


@pytest.fixture(scope="module")
def opa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaServer]:
    home = Home(tmp_path_factory.mktemp("opa"))
    home.make()
    write_bundle(home, TOKEN, opa_binary())
    with running_opa(home) as server:
        yield server


@pytest.fixture
async def make(tmp_path: Path, opa: OpaServer) -> AsyncIterator[Make]:
    """Steps over a real database and a real OPA; `hosts` are named by the settings."""
    home = Home(tmp_path)
    home.make()
    database = Database.open(home, open_keyring(home, bytes(32)))
    store = SecretStore(database)
    await store.set("callbacks", SECRET)
    async with AsyncExitStack() as ended:

        def steps(*hosts: str, names: Names | None = None, **top: Any) -> CallbackSteps:
            policy = PolicyClient(opa.url, SecretStr(TOKEN))
            ended.push_async_callback(policy.close)
            settings = Settings.model_validate({"tools": {"callback_hosts": hosts}, **top})
            made = CallbackSteps(settings, policy, store, resolve=names)
            ended.push_async_callback(made.close)
            return made

        yield steps
    database.close()


async def post(steps: CallbackSteps, url: str, *, attempt: int = 1) -> CallbackDone:
    given = CallbackInput(invocation_id="tool-abc-1", url=url, result=RESULT, decision_id="d1")
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    return await environment.run(steps.post_callback, given)


async def asked(steps: CallbackSteps, url: str, *, role: str = "member") -> tuple[str, str]:
    question = CallbackQuestion(
        invocation_id="i1", url=url, actor=Actor(id="p1", role=role, paired=True), decision_id="d7"
    )
    decision = (await steps.authorize_callback(question)).decision
    assert decision.decision_id == "d7"
    return decision.effect.value, decision.reasons[0]


async def test_a_private_place_that_a_name_leads_to_is_never_dialled(
    make: Make, origin: OriginServer
) -> None:
    url = f"http://hooks.example.com:{origin.port}/x"
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1"):
        steps = make(names=Names([address]), local_only=False)
        with pytest.raises(Unavailable, match="not in the public internet"):
            await post(steps, url)
        done = await post(steps, url, attempt=3)
        assert (done.outcome, done.status) == ("refused", 0)
    assert origin.visits == []


async def test_a_name_that_changes_its_answer_is_checked_at_each_attempt(
    make: Make, origin: OriginServer
) -> None:
    origin.answer = b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with Tunnel(origin) as tunnel:
        names = Names(["8.8.8.8"], ["127.0.0.1"])
        steps = make(names=names, local_only=False, proxy=f"http://127.0.0.1:{tunnel.port}")
        with pytest.raises(Unavailable, match="503"):
            await post(steps, "http://hooks.example.com/x")
        with pytest.raises(Unavailable, match="not in the public internet"):
            await post(steps, "http://hooks.example.com/x", attempt=2)
        assert len(origin.visits) == 1
        assert [visit.split()[1] for visit in tunnel.visits] == ["8.8.8.8:80"]


async def test_one_inner_address_among_public_ones_is_enough(make: Make, origin: OriginServer) -> None:
    steps = make(names=Names(["8.8.8.8", "127.0.0.1"]), local_only=False)
    with pytest.raises(Unavailable, match="not in the public internet"):
        await post(steps, f"http://hooks.example.com:{origin.port}/x")
    assert origin.visits == []


async def test_a_redirect_is_not_followed(make: Make, receiver: FakeReceiver, origin: OriginServer) -> None:
    inside = {"Location": f"http://127.0.0.1:{origin.port}/latest/meta-data/"}
    receiver.script("reply", *(dataclasses.replace(status(code), headers=inside) for code in (302, 307, 308)))
    steps = make(f"127.0.0.1:{receiver.port}")
    for attempt in (1, 2):
        with pytest.raises(Unavailable, match="redirects are not followed"):
            await post(steps, receiver.reply_url, attempt=attempt)
    done = await post(steps, receiver.reply_url, attempt=3)
    assert (done.outcome, done.status) == ("refused", 308)
    assert origin.visits == []


async def test_an_url_that_the_settings_no_longer_name_is_not_posted_to(
    make: Make, receiver: FakeReceiver
) -> None:
    steps = make()
    done = await post(steps, receiver.reply_url, attempt=3)
    assert done.outcome == "refused"
    assert "local_only" in done.reason
    assert receiver.posts == []


async def test_a_named_host_gets_a_signed_post(make: Make, receiver: FakeReceiver) -> None:
    done = await post(make(f"127.0.0.1:{receiver.port}"), receiver.reply_url)
    assert (done.outcome, done.status, done.attempts) == ("delivered", 200, 1)
    (posted,) = receiver.posts
    assert posted.verified
    assert posted.id == "tool-abc-1"
    assert posted.body["type"] == "invocation.ended"
    assert posted.data == RESULT.model_dump(mode="json", exclude={"output_blob"})


async def test_what_may_yet_work_is_repeated_with_the_same_id(make: Make, receiver: FakeReceiver) -> None:
    receiver.script(
        "reply", status(503, taken=True), drop(), status(500, taken=True), status(425, taken=True)
    )
    steps = make(f"127.0.0.1:{receiver.port}")
    for attempt in (1, 2, 3, 4):
        with pytest.raises(Unavailable) as raised:
            await post(steps, receiver.reply_url, attempt=attempt)
        assert not translated(raised.value).non_retryable
    done = await post(steps, receiver.reply_url, attempt=5)
    assert (done.outcome, done.attempts) == ("delivered", 5)
    assert len(receiver.posts) == 5
    assert len(receiver.replies) == 1
    assert all(posted.body == receiver.posts[0].body for posted in receiver.posts)


async def test_gone_ends_at_once_and_another_no_after_three(make: Make, receiver: FakeReceiver) -> None:
    steps = make(f"127.0.0.1:{receiver.port}")
    receiver.script("reply", status(410), *[status(404)] * 3, *[status(409)] * 1)
    assert (await post(steps, receiver.reply_url)).status == 410
    for attempt in (1, 2):
        with pytest.raises(Unavailable, match="404"):
            await post(steps, receiver.reply_url, attempt=attempt)
    assert (await post(steps, receiver.reply_url, attempt=3)).outcome == "refused"
    with pytest.raises(Unavailable, match="409"):
        await post(steps, receiver.reply_url, attempt=30)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [("120", 120, 120), (timedelta(minutes=5), 200, 300), ("999999999", 3600, 3600)],
    ids=["seconds", "a time", "too long"],
)
async def test_the_other_side_says_when(
    make: Make, receiver: FakeReceiver, given: str | timedelta, least: float, most: float
) -> None:
    if isinstance(given, timedelta):
        given = format_datetime(datetime.now(UTC) + given, usegmt=True)
    receiver.script("reply", dataclasses.replace(status(429), headers={"Retry-After": given}))
    with pytest.raises(Unavailable) as raised:
        await post(make(f"127.0.0.1:{receiver.port}"), receiver.reply_url)
    waited = translated(raised.value).next_retry_delay
    assert waited is not None
    assert least <= waited.total_seconds() <= most


@pytest.mark.parametrize("given", ["-5", "0", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 400])
async def test_a_strange_wish_is_no_wish(make: Make, receiver: FakeReceiver, given: str) -> None:
    receiver.script("reply", dataclasses.replace(status(503), headers={"Retry-After": given}))
    with pytest.raises(Unavailable) as raised:
        await post(make(f"127.0.0.1:{receiver.port}"), receiver.reply_url)
    assert raised.value.retry_after_s in (None, 3600)


async def test_nobody_reads_an_answer_that_does_not_end(make: Make) -> None:
    served = asyncio.Event()

    async def for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            served.set()

    server = await asyncio.start_server(for_ever, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(5):
        done = await post(make(f"127.0.0.1:{port}"), f"http://127.0.0.1:{port}/x")
        await served.wait()
    assert done.status == 200
    server.close()


async def test_a_slow_answer_is_given_up(
    make: Make, receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.callback.WHOLE_S", 0.2)
    receiver.script("reply", delay(1.0))
    with pytest.raises(Unavailable, match="TimeoutError"):
        await post(make(f"127.0.0.1:{receiver.port}"), receiver.reply_url)


async def test_policy_is_asked_about_host_and_mode(make: Make) -> None:
    url = "https://hooks.example.com/x"
    assert await asked(make(), url) == (
        "deny",
        "local_only: results are posted only to hosts that the settings name",
    )
    assert (await asked(make("hooks.example.com"), url))[0] == "allow"
    assert (await asked(make(local_only=False), url))[0] == "allow"
    assert (await asked(make(local_only=False), url, role="auditor"))[0] == "deny"
    assert (await asked(make(local_only=False), "https://u:p@example.com/"))[0] == "deny"
