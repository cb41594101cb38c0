"""A backup of the running stack, the home deleted, and put back: what was told is known, what is open goes on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.openai import FakeOpenAI
from tests.fakes.telegram import too_many
from tests.guarantees.gateway import SECRET, Gateway, settings_for
from tests.guarantees.platforms import Bot, is_marked, new_chat, unmarked
from tests.support import RunningStack

pytestmark = pytest.mark.alone

NO_TRITON = 'triton = "127.0.0.1:1"\n'
REFUSED_FOR_S = 4


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A stack of this test's own, which it may delete. Commands need no model."""
    with Bot() as bot, FakeOpenAI() as model:
        settings = settings_for(bot, model).replace("[models]\n", "[models]\n" + NO_TRITON)
        stack = RunningStack(tmp_path / "home", settings=settings)
        try:
            stack.start()
            bot.webhook = {"secret_token": SECRET}
            yield Gateway(stack, bot, model)
        finally:
            stack.stop()


def test_what_was_told_is_known_and_what_was_open_goes_on_with_a_mark(
    own_gateway: Gateway, tmp_path: Path
) -> None:
    gateway, bot, stack = own_gateway, own_gateway.bot, own_gateway.stack
    told, refused, stored = new_chat(), new_chat(), new_chat()
    first = gateway.say("/first", chat=told)
    bot.wait_for_messages(1, chat=told)
    bot.script_chat(refused, too_many(REFUSED_FOR_S))
    gateway.say("/waiting", chat=refused)  # its reply is ready in the outbox, and waits for the platform
    bot.wait_for_attempts(refused)
    worker = stack.pid("worker")
    os.kill(worker, signal.SIGSTOP)
    gateway.say("/stored", chat=stored)  # Temporal alone knows of it
    archive, phrase = tmp_path / "saved", tmp_path / "phrase"
    phrase.write_text("a long passphrase\n")
    saved = stack.run("backup", str(archive), "--passphrase-file", str(phrase))
    os.kill(worker, signal.SIGCONT)
    assert saved.returncode == 0, saved.stderr
    for chat in (refused, stored):
        (reply,) = bot.wait_for_messages(1, chat=chat, timeout_s=60)
        assert not is_marked(reply.text)

    running = stack.run("restore", str(archive), "--passphrase-file", str(phrase), "--replace")
    assert running.returncode == 1 and "already runs" in running.stderr
    stack.stop()
    shutil.rmtree(stack.home.root)
    put_back = stack.run("restore", str(archive), "--passphrase-file", str(phrase))
    assert put_back.returncode == 0, put_back.stderr
    stack.home.logs.mkdir(exist_ok=True)
    stack.start()

    for chat in (refused, stored):
        before, again = bot.wait_for_messages(2, chat=chat, timeout_s=60)
        assert is_marked(again.text), "it may be a repeat"
        assert unmarked(again.text) == before.text
    assert bot.deliver(gateway.webhook(), first, secret=SECRET) == 200
    gateway.say("/later", chat=told)
    replies = bot.wait_for_messages(2, chat=told, timeout_s=60)
    assert ["/first" in replies[0].text, "/later" in replies[1].text] == [True, True], (
        "an old event is no new turn"
    )
    assert not any(is_marked(reply.text) for reply in replies)
    assert gateway.call("GET", "/v1/conversations").status == 200, "the owner's key is the same"
