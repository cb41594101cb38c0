"""G10: failures are seen. A dead letter says why and can be tried again; no error is swallowed."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.telegram import refuse
from tests.guarantees.gateway import Gateway, until
from tests.guarantees.history import temporal
from tests.guarantees.platforms import new_chat
from tests.support import CHECKOUT

pytestmark = pytest.mark.alone

BLOCKED = refuse(403, "Forbidden: bot was blocked by the user")
ROOMS = (
    "api",
    "activities",
    "channels",
    "console",
    "portico",
    "workflows",
    "triton_models",
    "infra",
    "sandbox",
)
TRANSLATORS = {
    "activities/boundary.py",
    "api/errors.py",
    "workflows/delivery.py",
    "triton_models/llm/check.py",  # the tokenizer library raises nothing narrower; it becomes "not a model"
}
"""The three places where any error becomes something that a person sees."""
FAILING_RULE = """package portico.user.inbound

deny contains "never" if {
	input.action.kind == "command"
	1 / (count(input.context.now) - count(input.context.now)) == 2
}
"""


def letter(gateway: Gateway, chat: int) -> dict[str, Any]:
    """The one open dead letter of a chat, once it is there."""
    until(lambda: bool(gateway.letters_of(chat)), timeout_s=60)
    (found,) = gateway.letters_of(chat)
    return found


def blocked(gateway: Gateway, chat: int) -> dict[str, Any]:
    gateway.bot.script_chat(chat, BLOCKED)
    gateway.say("/hello", chat=chat)
    return letter(gateway, chat)


def command(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return gateway.stack.run("dead-letters", *arguments)


def test_a_dead_letter_is_listed_with_its_cause_and_retried(gateway: Gateway) -> None:
    chat = new_chat()
    dead = blocked(gateway, chat)
    assert dead["code"] == "delivery_refused"
    assert "blocked by the user" in dead["cause"]
    assert dead["can_retry"]
    assert "/hello" not in json.dumps(dead), "a cause is told, content is not"
    shown = command(gateway, "list")
    assert shown.returncode == 0
    assert dead["id"] in shown.stdout
    assert "delivery_refused" in shown.stdout

    retried = command(gateway, "retry", dead["id"])
    assert retried.returncode == 0, retried.stderr
    (reply,) = gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert "/hello" in reply.text
    assert gateway.letters_of(chat) == []
    again = command(gateway, "retry", dead["id"])
    assert again.returncode == 1
    assert "retried before" in again.stderr
    assert again.stderr.count("\n") == 1, "one clear line"


def test_two_retries_at_once_are_one_turn(gateway: Gateway) -> None:
    chat = new_chat()
    dead = blocked(gateway, chat)
    with ThreadPoolExecutor(8) as pool:
        path = f"/v1/dead-letters/{dead['id']}/retry"
        tries = [pool.submit(gateway.call, "POST", path) for _ in range(8)]
        answers = [one.result().status for one in tries]
    assert set(answers) <= {202, 409}
    assert 202 in answers
    gateway.say("/fence", chat=chat)
    gateway.bot.wait_until(lambda: any("/fence" in text for text in gateway.bot.texts(chat)), timeout_s=60)
    assert sum("/hello" in text for text in gateway.bot.texts(chat)) == 1


def test_a_retry_that_fails_again_is_a_dead_letter_again(gateway: Gateway) -> None:
    chat = new_chat()
    dead = blocked(gateway, chat)
    gateway.bot.script_chat(chat, BLOCKED)
    assert command(gateway, "retry", dead["id"]).returncode == 0
    until(lambda: [one["id"] for one in gateway.letters_of(chat)] not in ([], [dead["id"]]), timeout_s=60)
    again = letter(gateway, chat)
    assert command(gateway, "retry", again["id"]).returncode == 0
    gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)


def test_a_dropped_dead_letter_is_closed(gateway: Gateway) -> None:
    chat = new_chat()
    dead = blocked(gateway, chat)
    assert command(gateway, "drop", dead["id"]).returncode == 0
    assert gateway.letters_of(chat) == []
    refused = command(gateway, "retry", dead["id"])
    assert refused.returncode == 1
    assert "dropped before" in refused.stderr
    unknown = command(gateway, "drop", "no-such-letter")
    assert unknown.returncode == 1
    assert "not found" in unknown.stderr
    assert gateway.bot.texts(chat) == []


def test_an_event_that_nobody_understands_is_a_dead_letter_and_the_next_is_answered(gateway: Gateway) -> None:
    """As a release of another time might have stored it: acked once, so never dropped."""
    chat = new_chat()
    gateway.say("/before", chat=chat)
    gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)

    async def signal() -> None:
        client = await temporal(gateway)
        handle = client.get_workflow_handle(gateway.workflow_of(chat))
        await handle.signal("receive", {"schema": 99, "dedup_keys": ["odd"], "body": "no object"})

    asyncio.run(signal())
    dead = letter(gateway, chat)
    assert dead["code"] == "unreadable"
    assert dead["cause"]
    gateway.say("/after", chat=chat)
    assert "/after" in gateway.bot.wait_for_messages(2, chat=chat, timeout_s=60)[1].text


def test_what_a_failing_rule_stopped_is_retried_when_it_is_mended(gateway: Gateway) -> None:
    chat = new_chat()
    rule = gateway.stack.home.policies / "failing.rego"
    rule.write_text(FAILING_RULE)
    said: Iterator[int] = iter(range(100))

    def stopped() -> bool:
        gateway.say(f"/m{next(said)}", chat=chat)
        return bool(gateway.letters_of(chat))

    try:
        until(stopped, timeout_s=60)
        dead = letter_of_code(gateway, chat, "misconfigured")
        answered = len(gateway.bot.texts(chat))
    finally:
        rule.unlink()
    other = new_chat()

    def mended() -> bool:
        gateway.say("/probe", chat=other)
        until(lambda: bool(gateway.bot.texts(other) or gateway.letters_of(other)), timeout_s=60)
        return bool(gateway.bot.texts(other))

    until(mended, timeout_s=60)
    assert command(gateway, "retry", dead["id"]).returncode == 0
    gateway.bot.wait_for_messages(answered + 1, chat=chat, timeout_s=60)


def letter_of_code(gateway: Gateway, chat: int, code: str) -> dict[str, Any]:
    return next(one for one in gateway.letters_of(chat) if one["code"] == code)


def test_nothing_but_the_translators_catches_every_error() -> None:
    found = {}
    for room in ROOMS:
        for path in (CHECKOUT / room).rglob("*.py"):
            nodes = filter(catches_everything, ast.walk(ast.parse(path.read_text())))
            lines = [node.lineno for node in nodes if isinstance(node, ast.ExceptHandler | ast.Call)]
            if lines:
                found[str(path.relative_to(CHECKOUT))] = lines
    assert found.keys() <= TRANSLATORS, found
    assert found, "the search finds those that there are"


def catches_everything(node: ast.AST) -> bool:
    """`except Exception`, `except BaseException`, a bare `except`, and `suppress` of either."""
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or bool(names_in(node.type) & {"Exception", "BaseException"})
    if isinstance(node, ast.Call) and names_in(node.func) & {"suppress"}:
        return any(names_in(argument) & {"Exception", "BaseException"} for argument in node.args)
    return False


def names_in(node: ast.AST) -> set[str]:
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return found | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def test_the_search_for_caught_errors_sees_every_form() -> None:
    forms = (
        "try:\n    pass\nexcept Exception:\n    pass",
        "try:\n    pass\nexcept (ValueError, BaseException) as error:\n    pass",
        "try:\n    pass\nexcept:\n    pass",
        "with contextlib.suppress(Exception):\n    pass",
    )
    assert all(any(map(catches_everything, ast.walk(ast.parse(form)))) for form in forms)
    assert not any(map(catches_everything, ast.walk(ast.parse("try:\n    pass\nexcept OSError:\n    pass"))))
