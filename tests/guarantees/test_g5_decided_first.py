"""G5: no effect without a recorded decision; while policy is unavailable the work waits and nothing is let through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantees.gateway import Gateway, until
from tests.guarantees.history import Event, all_runs, story, temporal
from tests.guarantees.platforms import new_chat

pytestmark = pytest.mark.alone

EFFECTS = {"deliver": "authorize_egress", "generate": "authorize_model", "execute_tool": "authorize_tool"}
RULE = """package portico.user.egress

deny contains "closed by a test" if {
	input.action.kind == "reply"
}
"""


@pytest.fixture
def closing_rule(gateway: Gateway) -> Iterator[Path]:
    path = gateway.stack.home.policies / "closed.rego"
    yield path
    path.unlink(missing_ok=True)
    until(lambda: lets_through(gateway), timeout_s=60)


def lets_through(gateway: Gateway) -> bool:
    """Whether a message of its own chat is answered: rules are in force about 2 s after they were saved."""
    chat = new_chat()
    gateway.say("/probe", chat=chat)
    until(lambda: bool(gateway.bot.texts(chat) or gateway.letters_of(chat)), timeout_s=60)
    return bool(gateway.bot.texts(chat))


def test_nothing_is_let_through_while_policy_is_away(gateway: Gateway) -> None:
    chat = new_chat()
    before = len(gateway.model.asked)
    with gateway.away("opa"):
        gateway.say("Write a short poem about locks", chat=chat)
        gateway.say("/calc 6 * 7", chat=chat)
        assert gateway.call("POST", "/v1/dead-letters/none/drop").status == 503
        until_waiting(gateway, chat)
        assert gateway.bot.attempts(chat) == []
        assert len(gateway.model.asked) == before
    gateway.bot.wait_until(
        lambda: (
            [any(word in text for text in gateway.bot.texts(chat)) for word in ("locks", "42")]
            == [True, True]
        ),
        timeout_s=60,
    )
    assert gateway.letters_of(chat) == []


def test_policy_that_goes_away_before_a_reply_leaves_holds_the_reply(gateway: Gateway) -> None:
    """The model has been asked and writes; then policy is unavailable: the finished reply waits at the door."""
    chat = new_chat()
    before = len(gateway.model.asked)
    gateway.model.say(*("slow ",) * 10, pause_s=0.2)
    gateway.say("Write a short poem about doors", chat=chat)
    gateway.model.wait_until(lambda: len(gateway.model.asked) > before, timeout_s=60)
    with gateway.away("opa"):
        gateway.model.wait_until(lambda: gateway.model.open_streams == 0, timeout_s=60)
        until_waiting(gateway, chat)
        assert gateway.bot.attempts(chat) == []
    (reply,) = gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert "slow" in reply.text


def until_waiting(gateway: Gateway, chat: int) -> None:
    """Until the workflow itself says that it waits for an answer of policy: a retried regular activity."""

    async def waits() -> bool:
        client = await temporal(gateway)
        described = await client.get_workflow_handle(gateway.workflow_of(chat)).describe()
        return any(
            one.activity_type.name.startswith("authorize_") and one.attempt > 1
            for one in described.raw_description.pending_activities
        )

    until(lambda: asyncio.run(waits()), timeout_s=60)


def test_a_rule_that_denies_egress_lets_nothing_out_and_is_seen(gateway: Gateway, closing_rule: Path) -> None:
    """The rules are swapped while messages flow: each is decided by the old rules or by the new, none by neither."""
    chat = new_chat()
    closing_rule.write_text(RULE)
    sent = 0
    end = time.monotonic() + 60
    while not gateway.letters_of(chat):
        gateway.say(f"/m{sent:03d}", chat=chat)
        sent += 1
        assert time.monotonic() < end, "the rule did not come into force"
    until(lambda: len(gateway.bot.texts(chat)) + len(gateway.letters_of(chat)) == sent, timeout_s=60)
    delivered = len(gateway.bot.texts(chat))
    letters = gateway.letters_of(chat)
    assert [f"m{n:03d}" in text for n, text in enumerate(gateway.bot.texts(chat))] == [True] * delivered
    assert {letter["code"] for letter in letters} == {"delivery_refused"}
    assert {letter["cause"] for letter in letters} == {"closed by a test"}

    closing_rule.write_text('package portico.user.egress\n\ndeny contains "half a rule" if {\n')
    gateway.say("/after", chat=chat)
    until(lambda: len(gateway.letters_of(chat)) == len(letters) + 1, timeout_s=60)
    assert len(gateway.bot.texts(chat)) == delivered, "a typo does not open what a rule has closed"


async def test_every_effect_in_every_history_has_its_decision_before_it(gateway: Gateway) -> None:
    """Over all conversations and tool runs of these tests, those with kills included."""
    chat = new_chat()
    gateway.say("Write a short poem about proof", chat=chat)
    gateway.say("/calc 1 + 1", chat=chat)
    await gateway.bot.until(lambda: len(gateway.bot.texts(chat)) == 2, timeout_s=60)
    client = await temporal(gateway)
    seen = dict.fromkeys(EFFECTS, 0)
    async for workflow_id, run_id in all_runs(client):
        for name in check_decided(await story(client, workflow_id, run_id=run_id)):
            seen[name] += 1
    assert all(seen.values()), seen


def check_decided(events: list[Event]) -> list[str]:
    """The effects of one history; each has named a decision that an earlier event records as allowed."""
    allowed: dict[str, str] = {}
    effects = []
    for event in events:
        if event.kind == "answered" and event.name in EFFECTS.values():
            decision = event.content[0]["decision"]
            if decision["effect"] == "allow":
                assert decision["revision"], "it says which rules decided"
                allowed[decision["decision_id"]] = event.name
        # A tool's activity has the tool's own name.
        name = "execute_tool" if event.kind == "asked" and "invocation" in event.content[0] else event.name
        if event.kind == "asked" and name in EFFECTS and event.name not in EFFECTS.values():
            decision_id = event.content[0]["decision_id"]
            assert allowed.get(decision_id) == EFFECTS[name], f"{event.name} was not decided before"
            effects.append(name)
    return effects


def test_the_check_itself_finds_an_effect_that_nobody_decided() -> None:
    answer = {"decision": {"effect": "allow", "decision_id": "d1", "revision": "r"}}
    decided = Event(1, "answered", "authorize_egress", [answer])
    effect = Event(2, "asked", "deliver", [{"decision_id": "d1"}])
    assert check_decided([decided, effect]) == ["deliver"]
    with pytest.raises(AssertionError, match="not decided"):
        check_decided([effect, decided])
    denied = Event(1, "answered", "authorize_egress", [{"decision": {"effect": "deny", "decision_id": "d1"}}])
    with pytest.raises(AssertionError, match="not decided"):
        check_decided([denied, effect])
