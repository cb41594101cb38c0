"""People on Telegram who go on talking while the deployment is hurt, and remember what they were told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from channels.telegram.render import MARK
from tests.deploy.deployment import Deployment
from tests.fakes.telegram import FakeTelegram

ANSWERED_WITHIN_S = 120
PAUSE_S = 0.3


class Chat:
    """One chat. Telegram delivers each update until it is acknowledged, and the person writes the next one."""

    def __init__(self, deployment: Deployment, number: int) -> None:
        self._deployment = deployment
        self._number = number
        self._telegram = FakeTelegram()
        self._telegram._update_ids = iter(range(number * 10_000, number * 10_000 + 10_000))  # type: ignore[assignment]
        self._stop = threading.Event()
        self.sent = 0

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

    def prove_all_answered(self) -> None:
        """Each once and in order. One that was repeated, because nobody knew its end, says so."""
        asked = [answer_to(number) for number in range(self.sent)]
        ends = time.monotonic() + ANSWERED_WITHIN_S
        while True:
            seen = self._deployment.seen(self._number)
            if set(asked) <= {text.removeprefix(MARK) for text in seen}:
                break
            assert time.monotonic() < ends, f"{asked} asked, {seen} seen\n{self._deployment.state()}"
            time.sleep(0.5)
        unmarked = Counter(text for text in seen if not text.startswith(MARK))
        assert not [text for text, times in unmarked.items() if times > 1], seen
        first = list(dict.fromkeys(text.removeprefix(MARK) for text in seen))
        assert first == asked

    def _talk(self) -> None:
        while not self._stop.is_set():
            update = self._telegram.text(question(self.sent), chat=self._number)
            while self._deployment.webhook(update) != 200:
                time.sleep(0.2)
            self.sent += 1
            time.sleep(PAUSE_S)


def question(number: int) -> str:
    return f"what is {number + 2} * 7?"


def answer_to(number: int) -> str:
    return f"{number + 2} × 7 = {(number + 2) * 7}"
