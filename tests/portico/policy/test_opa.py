"""The client against a real OPA, started as the embedded stack starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from operations.rules.bundle import PolicyWatcher, bundle_path, pack, shipped_sources, write_bundle
from portico.contracts.messages import Actor, ConversationRef, Effect
from portico.contracts.policy import (
    QUESTIONS,
    Action,
    AdminAction,
    EgressAction,
    InboundAction,
    ModelAction,
    PolicyContext,
    PolicyInput,
    ToolAction,
    params_hash,
)
from portico.errors import Misconfigured, Unavailable
from portico.policy.opa import PolicyClient
from portico.settings.home import Home
from tests.policies.opa_server import TOKEN, OpaServer, opa_binary, running_opa

GATE = "/v1/data/system/gate/answers/inbound"
RELOAD_S = 2.0
CONVERSATION = ConversationRef(id="conversation-1", channel="telegram", account="default", chat="chat-1")
ACTIONS: dict[str, Action] = {
    "inbound": InboundAction(kind="text"),
    "model": ModelAction(route="main", locality="local"),
    "egress": EgressAction(
        kind="reply", channel="telegram", account="default", conversation="conversation-1"
    ),
    "tool": ToolAction(tool="time", effects="none", risk="low", params_hash=params_hash("time", {})),
    "admin": AdminAction(operation="login_link.create", role="member", subject="person-1"),
}


def asked(question: str, *, actor: Actor | None = None) -> PolicyInput:
    return PolicyInput.about(
        ACTIONS[question],
        actor=actor or Actor(id="person-1", role="member", paired=True),
        conversation=CONVERSATION,
        group=False,
        context=PolicyContext.at(1_795_348_800.0, local_only=False),
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    return made


@pytest.fixture
def opa(home: Home) -> Iterator[OpaServer]:
    write_bundle(home, TOKEN, opa_binary())
    with running_opa(home) as server:
        yield server


@pytest.fixture
async def client(opa: OpaServer) -> AsyncIterator[PolicyClient]:
    made = PolicyClient(opa.url, SecretStr(TOKEN))
    yield made
    await made.close()


async def _until_revision(client: PolicyClient, revision: str) -> float:
    """Seconds until OPA answers from that bundle."""
    start = time.monotonic()
    while await client.revision() != revision:
        assert time.monotonic() - start < RELOAD_S, "OPA did not load the new bundle"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


# --- the door ------------------------------------------------------------------------------------


def test_nobody_asks_without_the_token(opa: OpaServer) -> None:
    assert opa.request("POST", GATE, b'{"input": {}}') == 401
    assert opa.request("POST", GATE, b'{"input": {}}', token="another") == 401
    assert opa.request("GET", "/v1/data") == 401
    assert opa.request("GET", "/v1/policies") == 401
    assert opa.request("GET", "/metrics") == 401
    assert opa.request("GET", "/metrics", token=TOKEN) == 200
    assert opa.request("GET", "/health") == 200


@pytest.mark.parametrize("token", ["", TOKEN])
def test_nobody_writes_rules_or_data(opa: OpaServer, token: str) -> None:
    widened = b'package portico.inbound\n\ndecision := {"effect": "allow"}\n'
    for path in ("/v1/policies/mine", "/v1/policies/inbound/inbound.rego"):
        assert opa.request("PUT", path, widened, token=token) == 401
        assert opa.request("DELETE", path, token=token) == 401
    for path in ("/v1/data", "/v1/data/portico/roles/known", "/v1/data/system/door", GATE):
        assert opa.request("PUT", path, b"[]", token=token) == 401
        assert (
            opa.request("PATCH", path, b'[{"op": "add", "path": "-", "value": "guest"}]', token=token) == 401
        )
        assert opa.request("DELETE", path, token=token) == 401
    assert opa.request("POST", "/v1/query", b'{"query": "data.system.door"}', token=token) == 401
    assert opa.request("POST", "/v1/compile", b'{"query": "data.system.door"}', token=token) == 401


def test_bundle_mode_refuses_writes_even_with_the_door_open(home: Home) -> None:
    open_door = b"package system.authz\n\nallow := true\n"
    bundle_path(home).parent.mkdir()
    bundle_path(home).write_bytes(
        pack({"authz.rego": open_door, ".manifest": b'{"revision": "x", "roots": [""], "rego_version": 1}'})
    )
    with running_opa(home) as server:
        assert server.request("GET", "/v1/data") == 200
        assert server.request("PUT", "/v1/policies/mine", b"package mine\n") == 400
        assert server.request("PUT", "/v1/data/mine", b"{}") == 400


async def test_a_wrong_token_means_away(opa: OpaServer) -> None:
    client = PolicyClient(opa.url, SecretStr("another"))
    with pytest.raises(Unavailable, match="401"):
        await client.decide("inbound", asked("inbound"))
    await client.close()


async def test_no_input_is_written_to_the_log(opa: OpaServer, client: PolicyClient) -> None:
    await client.decide("inbound", asked("inbound", actor=Actor(id="somebody-9", role="member", paired=True)))
    assert "somebody-9" not in opa.log.read_text()


# --- away, undefined, failing ----------------------------------------------------------------------


async def test_a_killed_opa_is_away_and_comes_back(home: Home, opa: OpaServer, client: PolicyClient) -> None:
    assert (await client.decide("inbound", asked("inbound"))).allowed
    opa.process.kill()
    opa.process.wait()
    with pytest.raises(Unavailable) as away:
        await client.decide("inbound", asked("inbound"))
    assert away.value.retryable
    with running_opa(home) as again:
        other = PolicyClient(again.url, SecretStr(TOKEN))
        assert (await other.decide("inbound", asked("inbound"))).allowed
        await other.close()


async def test_an_opa_that_hangs_is_away_within_its_time(opa: OpaServer) -> None:
    client = PolicyClient(opa.url, SecretStr(TOKEN), timeout_s=0.3)
    assert (await client.decide("inbound", asked("inbound"))).allowed
    opa.process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        await client.decide("inbound", asked("inbound"))
    assert time.monotonic() - start < 1.0
    opa.process.send_signal(signal.SIGCONT)
    assert (await client.decide("inbound", asked("inbound"))).allowed
    await client.close()


def _replace_bundle(home: Home, *, without: str) -> None:
    """Put a bundle in place that lacks one file."""
    files = shipped_sources() | {
        "system/release/data.json": b'{"revision": "damaged"}',
        "system/door/data.json": _door(home),
        ".manifest": b'{"revision": "damaged", "roots": [""], "rego_version": 1}',
    }
    del files[without]
    beside = home.run / "beside"
    beside.write_bytes(pack(files))
    beside.replace(bundle_path(home))


def _door(home: Home) -> bytes:
    with tarfile.open(bundle_path(home)) as archive:
        member = archive.extractfile("/system/door/data.json")
        assert member is not None
        return member.read()


@pytest.mark.parametrize("missing", ["system/system.rego", "system/release/data.json", "data.json"])
async def test_a_bundle_that_is_not_whole_means_away(
    home: Home, opa: OpaServer, client: PolicyClient, missing: str
) -> None:
    _replace_bundle(home, without=missing)
    end = time.monotonic() + RELOAD_S
    while time.monotonic() < end:
        try:
            await client.decide("inbound", asked("inbound"))
        except Unavailable as away:
            assert "not loaded" in away.message
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a bundle that lacks a part was believed")


async def test_an_undefined_rule_in_a_ready_bundle_denies(
    home: Home, opa: OpaServer, client: PolicyClient
) -> None:
    assert (await client.decide("tool", asked("tool"))).allowed
    _replace_bundle(home, without="tool/tool.rego")
    await _until_revision(client, "damaged")
    decision = await client.decide("tool", asked("tool"))
    assert decision.effect is Effect.DENY
    assert decision.reasons == ("no rule allowed it",)
    assert decision.revision == "damaged"
    assert (await client.decide("inbound", asked("inbound"))).allowed, "the other questions are answered"


async def test_an_own_rule_that_fails_lets_nothing_through(
    home: Home, opa: OpaServer, client: PolicyClient
) -> None:
    (home.policies / "mine.rego").write_text(
        'package portico.user.inbound\n\ndeny contains "odd" if to_number(input.actor.id) % 2 == 1\n'
    )
    await _until_revision(client, write_bundle(home, TOKEN, opa_binary()).revision)
    with pytest.raises(Misconfigured, match="inbound"):
        await client.decide("inbound", asked("inbound"))
    assert (await client.decide("egress", asked("egress"))).allowed


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_shape_that_python_builds_is_the_shape_that_rego_reads(
    client: PolicyClient, question: str
) -> None:
    decision = await client.decide(question, asked(question))  # type: ignore[arg-type]
    assert decision.effect is Effect.ALLOW, decision.reasons


async def test_a_stranger_is_offered_pairing(client: PolicyClient) -> None:
    decision = await client.decide("inbound", asked("inbound", actor=Actor(id="person-2")))
    assert decision.effect is Effect.DENY
    assert decision.obliges("offer_pairing")


async def test_a_decision_carries_its_id_and_the_bundles_revision(home: Home, client: PolicyClient) -> None:
    given = await client.decide("inbound", asked("inbound"), decision_id="decision-7")
    made = [await client.decide("inbound", asked("inbound")) for _ in range(2)]
    assert given.decision_id == "decision-7"
    assert made[0].decision_id != made[1].decision_id
    assert all(len(decision.decision_id) == 32 for decision in made)
    assert given.revision == write_bundle(home, TOKEN, opa_binary()).revision == await client.revision()


async def test_proxies_of_the_environment_are_not_used(
    opa: OpaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    client = PolicyClient(opa.url, SecretStr(TOKEN))
    assert (await client.decide("inbound", asked("inbound"))).allowed
    await client.close()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8181", "unix:///tmp/x", "http://"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"policy\.url"):
        PolicyClient(url, SecretStr(TOKEN))


# --- changes while it runs ---------------------------------------------------------------------------


async def test_a_changed_rule_is_in_force_within_two_seconds(
    home: Home, opa: OpaServer, client: PolicyClient
) -> None:
    watcher = PolicyWatcher(home, TOKEN, opa_binary())
    assert watcher.poll() is None, "the bundle that OPA was started on is what lies on disk"
    (home.policies / "mine.rego").write_text(
        'package portico.user.inbound\n\ndeny contains "not today" if true\n'
    )
    report = watcher.poll()
    assert report is not None
    await _until_revision(client, report.revision)
    decision = await client.decide("inbound", asked("inbound"))
    assert (decision.effect, decision.reasons) == (Effect.DENY, ("not today",))

    (home.policies / "mine.rego").write_text("package portico.user.inbound\n\ndeny contains if {\n")
    broken = watcher.poll()
    assert broken is not None and "mine.rego:3" in broken.problem
    assert (await client.decide("inbound", asked("inbound"))).reasons == ("not today",)


async def test_a_damaged_or_deleted_bundle_leaves_the_last_one_in_force(
    home: Home, opa: OpaServer, client: PolicyClient
) -> None:
    before = await client.revision()
    for damage in (_cut_short, Path.unlink):
        seen = _failed_loads(opa)
        damage(bundle_path(home))
        await _until_another_failed_load(opa, seen)
        decision = await client.decide("inbound", asked("inbound"))
        assert decision.allowed and decision.revision == before


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _failed_loads(opa: OpaServer) -> int:
    events = [json.loads(line) for line in opa.log.read_text().splitlines() if line.endswith("}")]
    return sum(1 for event in events if event.get("err"))


async def _until_another_failed_load(opa: OpaServer, seen: int) -> None:
    end = time.monotonic() + RELOAD_S
    while _failed_loads(opa) == seen:
        assert time.monotonic() < end, "OPA did not look at the bundle"
        await asyncio.sleep(0.01)


async def test_no_decision_mixes_two_bundles(home: Home, opa: OpaServer, client: PolicyClient) -> None:
    """Three rules say the same word; the word changes under a stream of questions."""
    wrong: list[tuple[str, ...]] = []
    words: dict[str, str] = {}
    answered: set[str] = set()
    running = True

    async def ask() -> None:
        while running:
            decision = await client.decide("inbound", asked("inbound"))
            said = {reason.split()[-1] for reason in decision.reasons}
            if said != {words[decision.revision]}:
                wrong.append(decision.reasons)
            answered.add(decision.revision)

    def write(word: str) -> str:
        for number in range(3):
            (home.policies / f"rule{number}.rego").write_text(
                f'package portico.user.inbound\n\ndeny contains "rule {number} {word}" if true\n'
            )
        bundle = write_bundle(home, TOKEN, opa_binary())
        words[bundle.revision] = word
        return bundle.revision

    revision = write("first")
    await _until_revision(client, revision)
    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for number in range(8):
        # Built in this thread, so that a revision is known before anybody can be answered from it.
        await _until_revision(client, write(f"word{number}"))
    running = False
    await asyncio.gather(*asking)
    assert wrong == []
    assert len(answered) >= 8
