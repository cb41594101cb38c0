"""The whole embedded stack with scripted platforms around it, and ways to look into what it did."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from portico.crypto.keyring import open_keyring
from portico.ids import conversation_id
from tests.fakes.hook import FakeReceiver, message
from tests.fakes.openai import FakeOpenAI
from tests.guarantees.platforms import Bot, Traffic
from tests.support import RunningStack, until

SECRET = "secret-of-the-guarantees"
SETTINGS = """
public_url = "http://127.0.0.1:9"
[limits]
messages_per_minute = 0
failed_verifications_per_minute = 0
[models]
detect = false
[llm.routes.main]
kind = "openai"
base_url = "{model}/v1"
model = "tiny"
"""
ACCOUNT = """
[channels.telegram.{name}]
token = "{token}"
secret = "{secret}"
api_base = "{bot}"
bot_username = "portico_test_bot"
admit = "anyone"
receive = "webhook"
rate_per_s = 0
rate_per_chat_per_s = {per_chat}
burst = {burst}
"""
HOOK = """
[channels.hook.default]
secret = "{secret}"
reply_url = "{url}"
admit = "anyone"
"""


def settings_for(
    bot: Bot, model: FakeOpenAI, *, token: str = "", receiver: FakeReceiver | None = None
) -> str:
    """Three accounts of one bot: without limits, with one message a second and chat, with one in 50 seconds."""
    facts = {"bot": bot.url, "token": token or bot.token, "secret": SECRET}
    accounts = ACCOUNT.format(name="default", per_chat=0, burst=5, **facts)
    accounts += ACCOUNT.format(name="limited", per_chat=1, burst=5, **facts)
    accounts += ACCOUNT.format(name="slow", per_chat=0.02, burst=1, **facts)
    if receiver is not None:
        accounts += HOOK.format(secret=receiver.secret, url=receiver.reply_url)
    return SETTINGS.format(model=model.url) + accounts


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


@dataclass
class Gateway:
    """What the tests of the guarantees talk to. Chats are fresh for each test, the stack is shared."""

    stack: RunningStack
    bot: Bot
    model: FakeOpenAI
    receiver: FakeReceiver = field(default_factory=FakeReceiver)

    def webhook(self, account: str = "default") -> str:
        return f"{self.stack.url}/webhooks/telegram/{account}"

    def say(self, text: str, *, chat: int, account: str = "default", **more: Any) -> dict[str, Any]:
        """One message, acked at once. Returns the update, so that it can be told again."""
        update = self.bot.text(text, chat=chat, **more)
        status = self.bot.deliver(self.webhook(account), update, secret=SECRET)
        assert status == 200, status
        return update

    def say_by_hook(self, text: str, *, chat: str, message_id: str) -> int:
        """A signed webhook. Returns the status."""
        body, headers = message(text, chat=chat, message_id=message_id)
        request = urllib.request.Request(self.stack.url + "/webhooks/hook", data=body, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def traffic(self, **options: Any) -> Traffic:
        return Traffic(self.bot, self.webhook, **options)

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float = 90,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """The edge, as its owner."""
        request = urllib.request.Request(
            self.stack.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {self.key}",
                "content-type": "application/json",
                **(headers or {}),
            },
            method=method,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return Answer(
                    answer.status, dict(answer.headers.items()), json.loads(answer.read() or b"null")
                )
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers.items()), json.loads(error.read() or b"null"))

    @property
    def key(self) -> str:
        return self.stack.home.cli_key.read_text().strip()

    def workflow_of(self, chat: int | str, *, account: str = "default", channel: str = "telegram") -> str:
        secret = open_keyring(self.stack.home).current("id").secret
        return conversation_id(secret, channel=channel, account=account, chat=str(chat))

    def letters_of(self, chat: int | str, *, account: str = "default") -> list[dict[str, Any]]:
        """Open dead letters of one chat, as `portico dead-letters list --json` prints them."""
        listed = self.stack.run("dead-letters", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        mine = self.workflow_of(chat, account=account)
        return [letter for letter in json.loads(listed.stdout) if letter["conversation"] == mine]

    @contextmanager
    def away(self, part: str) -> Iterator[None]:
        """A part that hangs: it takes connections and says nothing. The supervisor restarts only what ended."""
        pid = self.stack.pid(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self.stack.wait_ready(part, timeout_s=60)

    def kill(self, *parts: str) -> None:
        """SIGKILL, and wait until the supervisor has brought them back."""
        for part in parts:
            self.stack.kill(part)
        for part in parts:
            self.stack.wait_ready(part, timeout_s=90)

    def kill_all(self) -> None:
        """SIGKILL to the supervisor: everything dies with it. Then a start as a person would do it."""
        self.stack.supervisor.kill()
        self.stack.supervisor.wait()
        self.stack.start()

    def all_ready(self, *, timeout_s: float = 60) -> None:
        for part in ("temporal", "opa", "s3", "triton", "worker", "api"):
            self.stack.wait_ready(part, timeout_s=timeout_s)


__all__ = ["SECRET", "Answer", "Gateway", "settings_for", "until"]
