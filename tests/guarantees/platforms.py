"""The scripted platforms of these tests: a Bot API that can misbehave towards one chat, and a patient sender.

Telegram's side of the bargain is played here too: an update that was not acked with 200 is sent again.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.error
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from channels.telegram.render import MARK
from tests.fakes.server import Step
from tests.fakes.telegram import FakeTelegram

_CHAT: ContextVar[str] = ContextVar("chat", default="")
_CHATS = itertools.count(70_000_000)


TEXTS = ("/{tag}", "Write a poem about {tag}")
"""A command is answered by Portico itself, free text by the model: policy alone, and policy, Triton and model."""


def new_chat() -> int:
    """A chat that no other test uses: chats are conversations."""
    return next(_CHATS)


class Bot(FakeTelegram):
    """`script_chat(chat, drop(), …)`: what happens to the next `sendMessage` of one chat; others go on as usual."""

    def script_chat(self, chat: int, *steps: Step, times: int = 1) -> None:
        self.script(f"sendMessage:{chat}", *steps, times=times)

    def next_step(self, name: str) -> Step | None:
        own = f"{name}:{_CHAT.get()}"
        return super().next_step(own) if self._scripts.get(own) else super().next_step(name)

    def routes(self, app: web.Application) -> None:
        app.middlewares.append(_know_the_chat)
        super().routes(app)

    def attempts(self, chat: int) -> list[float]:
        """When `sendMessage` was called for a chat, whatever became of it."""
        return [
            call.at for call in self.called("sendMessage") if str(call.payload.get("chat_id")) == str(chat)
        ]

    def wait_for_attempts(self, chat: int, count: int = 1, *, timeout_s: float = 60) -> list[float]:
        found: list[float] = self.wait_until(
            lambda: seen if len(seen := self.attempts(chat)) >= count else [],
            timeout_s=timeout_s,
            what=f"{count} calls for chat {chat}",
        )
        return found


@web.middleware
async def _know_the_chat(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
    if request.content_type == "application/json" and request.can_read_body:
        body = await request.json()
        _CHAT.set(str(body.get("chat_id", "")) if isinstance(body, dict) else "")
    answer: web.StreamResponse = await handler(request)
    return answer


def is_marked(text: str) -> bool:
    return text.startswith(MARK)


def unmarked(text: str) -> str:
    return text.removeprefix(MARK)


@dataclass
class Chat:
    """One person who writes one message after another and reads what comes back."""

    bot: Bot
    id: int = field(default_factory=new_chat)
    acked: list[str] = field(default_factory=list)
    repeats: int = 0
    """How many deliveries were sent again because no 200 came."""

    def tag(self, number: int) -> str:
        return f"x{self.id}n{number:04d}"

    def answered(self) -> list[str]:
        """The tags of the replies as they arrived, a repeat included."""
        return [tag for tag, _ in self.replies()]

    def replies(self) -> list[tuple[str, bool]]:
        """Tag and mark of each reply that names one of this chat's messages, in the order of arrival."""
        known = set(self.acked) | {self.tag(len(self.acked))}
        found = []
        for text in self.bot.texts(self.id):
            tags = [word for word in known if word in text]
            found += [(tag, is_marked(text)) for tag in tags]
        return found


def persist(
    bot: Bot, url: Callable[[], str], update: dict[str, Any], *, within_s: float = 90
) -> tuple[int, int]:
    """Deliver as Telegram does, until it is acked. Returns how often it was sent, and the last status."""
    end = time.monotonic() + within_s
    for tries in itertools.count(1):
        status = attempt(bot, url, update)
        if status == 200:
            return tries, status
        assert time.monotonic() < end, f"no ack within {within_s} s; the last answer was {status}"
        time.sleep(0.1)  # a platform waits before it sends again
    raise AssertionError("unreachable")


def attempt(bot: Bot, url: Callable[[], str], update: dict[str, Any]) -> int:
    """One delivery: its status, 0 where none came."""
    try:
        return bot.deliver(url(), update, timeout_s=10)
    except (urllib.error.URLError, OSError, json.JSONDecodeError, ValueError):
        return 0  # refused, reset or too late: what a platform sees of a killed process


class Traffic:
    """Many chats at once, each with at most `ahead` unanswered messages, until `stop`."""

    def __init__(
        self,
        bot: Bot,
        url: Callable[[], str],
        *,
        chats: int = 5,
        ahead: int = 2,
        texts: tuple[str, ...] = TEXTS,
    ) -> None:
        self.chats = [Chat(bot) for _ in range(chats)]
        self.bot = bot
        self._url = url
        self._ahead = ahead
        self._texts = texts
        self._over = threading.Event()
        self._problems: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._talk, args=(chat,), daemon=True) for chat in self.chats
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)

    @property
    def acked(self) -> int:
        return sum(len(chat.acked) for chat in self.chats)

    def wait_for_acks(self, more: int, *, timeout_s: float = 60) -> None:
        """Until so many further messages were acked."""
        goal = self.acked + more
        self.bot.wait_until(lambda: self.acked >= goal, timeout_s=timeout_s, what=f"{more} more acks")

    def drain(self, *, timeout_s: float = 90) -> None:
        """Say no more, and wait until every acked message is answered."""
        self.__exit__()
        assert not self._problems, self._problems
        try:
            self.bot.wait_until(lambda: not self.unanswered(), timeout_s=timeout_s)
        except TimeoutError:
            missing = self.unanswered()
            seen = {chat.id: self.bot.texts(chat.id) for chat in self.chats if set(chat.acked) & missing}
            raise AssertionError(
                f"acked and not answered within {timeout_s} s: {missing}; seen: {seen}"
            ) from None

    def unanswered(self) -> set[str]:
        return {tag for chat in self.chats for tag in set(chat.acked) - set(chat.answered())}

    def _talk(self, chat: Chat) -> None:
        try:
            while not self._over.is_set():
                if len(chat.acked) - len(set(chat.answered())) >= self._ahead:
                    self._over.wait(0.02)
                    continue
                number = len(chat.acked)
                tag = chat.tag(number)
                text = self._texts[number % len(self._texts)].format(tag=tag)
                update = self.bot.text(text, chat=chat.id)
                tries, _ = persist(self.bot, self._url, update)
                chat.repeats += tries - 1
                chat.acked.append(tag)
                self.bot.changed()
        except (AssertionError, RuntimeError, KeyError) as problem:
            self._problems.append(problem)


def check_promises(traffic: Traffic) -> None:
    """Every acked message answered, in order, and nothing twice without a mark."""
    for chat in traffic.chats:
        replies = chat.replies()
        firsts = list(dict.fromkeys(tag for tag, _ in replies))
        assert firsts == chat.acked, f"order or number of answers in chat {chat.id}"
        assert [tag for tag, _ in replies] == sorted(tag for tag, _ in replies), "a repeat left its place"
        unmarked_tags = [tag for tag, marked in replies if not marked]
        assert len(unmarked_tags) == len(set(unmarked_tags)), "an unmarked duplicate"
