"""People on Telegram who go on writing while the deployment is hurt, and remember what they were told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from channels.telegram.render import MARK
from tests.deploy.deployment import Deployment
from tests.fakes.telegram import FakeTelegram

ANSWERED_WITHIN_S = 300  # a worker that starts again takes seconds of CPU, and machines are shared
PAUSE_S = 0.3
_NUMBERS = itertools.count(int(time.time()) % 1_000_000 * 1000)


class Crowd:
    """One after another writes once, each in a chat of their own, so that every reply has its message.

    Telegram delivers each update until it is acknowledged.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._telegram = FakeTelegram()  # never started: it only writes updates
        self._stop = threading.Event()
        self.chats: list[int] = []
        self.longest_wait_s = 0.0

    @property
    def sent(self) -> int:
        return len(self.chats)

    @contextmanager
    def talking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._talk, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(ANSWERED_WITHIN_S)
            assert not thread.is_alive(), f"an update is not taken: {self._deployment.state()}"

    def wait_for_sent(self, number: int) -> None:
        ends = time.monotonic() + ANSWERED_WITHIN_S
        while self.sent < number:
            assert time.monotonic() < ends, f"{self.sent} of {number} taken\n{self._deployment.state()}"
            time.sleep(0.1)

    def prove_each_answered_once(self) -> None:
        """A second copy, of which nobody knew whether there is a first, says so; none comes without that."""
        ends = time.monotonic() + ANSWERED_WITHIN_S
        while True:
            seen = self._deployment.seen()
            left = [chat for chat in self.chats if not seen.get(chat)]
            if not left:
                break
            assert time.monotonic() < ends, f"{len(left)} of {self.sent} lost\n{self._deployment.state()}"
            time.sleep(0.5)
        for chat in self.chats:
            unmarked = [text for text in seen[chat] if not text.startswith(MARK)]
            assert len(unmarked) <= 1, seen[chat]
            assert len(seen[chat]) <= 2, seen[chat]

    def _talk(self) -> None:
        while not self._stop.is_set():
            chat = next(_NUMBERS)
            update = {**self._telegram.text("hello", chat=chat), "update_id": chat}
            began = time.monotonic()
            while self._deployment.webhook(update) != 200:
                time.sleep(0.2)
            self.longest_wait_s = max(self.longest_wait_s, time.monotonic() - began)
            self.chats.append(chat)
            time.sleep(PAUSE_S)
