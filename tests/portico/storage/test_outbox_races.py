"""Two attempts at one delivery, in every order that hypothesis can think of, against a platform that counts.

Each worker does what the delivery step does; it may be overtaken or die between any two steps. What must
hold: at most one unmarked copy, a definite end is never overwritten, an older attempt changes nothing,
numbers have no gaps.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channels.base import Rates
from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow, OutboxRow
from tests.portico.storage.support import MASTER

PARTS = 2
WORKERS = st.sampled_from(["a", "b"])


@dataclass
class Worker:
    """One attempt at the delivery: `row` is what it last read, `going` whether it may call the platform."""

    row: OutboxRow | None = None
    going: bool = False
    called: bool = False


@dataclass
class Platform:
    copies: list[tuple[int, bool]] = field(default_factory=list)

    def unmarked(self, part: int) -> int:
        return self.copies.count((part, False))


class DeliveryRaces(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        home = Home(Path(self.folder.name))
        home.make()
        self.runner = asyncio.Runner()
        self.db = Database.open(home, open_keyring(home, MASTER))
        self.outbox = Outbox(self.db)
        self.workers = {"a": Worker(), "b": Worker()}
        self.platform = Platform()
        self.definite: dict[str, str] = {}
        self.now = 0.0

    def run_now(self, awaitable: Any) -> Any:
        self.now += 1
        return self.runner.run(awaitable)

    def stored(self, row: OutboxRow) -> OutboxRow:
        found: OutboxRow = self.run_now(self.outbox.get(row.row_id))
        return found

    def teardown(self) -> None:
        self.db.close()
        self.runner.close()
        self.folder.cleanup()

    @rule(name=WORKERS, end=st.sampled_from(["sent", "unknown"]))
    def goes_on(self, name: str, end: str) -> None:
        """The next step of the delivery, from what this worker knows, which may be out of date."""
        worker = self.workers[name]
        if worker.row is None or worker.row.final:
            self.prepares_and_begins(name)
        elif worker.called:
            self.finishes(name, end)
        elif worker.going:
            self.calls_the_platform(name)
        elif worker.row.state == "unknown":
            self.repeats_an_unknown_end(name)
        else:
            self.begins_what_it_read(name)

    @rule(name=WORKERS)
    def dies_and_starts_again(self, name: str) -> None:
        self.workers[name] = Worker()

    def prepares_and_begins(self, name: str) -> None:
        rows = [NewRow("c", "t", part, "send", "{}") for part in range(PARTS)]
        _, begun = self.run_now(
            self.outbox.prepare_and_begin_first(
                rows, rates=Rates(), account_key="a", chat_key="c", now=self.now
            )
        )
        self.workers[name] = Worker() if begun is None else Worker(begun.row, going=begun.kind == "go")

    def begins_what_it_read(self, name: str) -> None:
        worker = self.workers[name]
        if worker.row is None or worker.going:
            return
        begun = self.run_now(
            self.outbox.begin(
                worker.row.row_id,
                attempt=worker.row.attempt,
                rates=Rates(),
                account_key="a",
                chat_key="c",
                now=self.now,
            )
        )
        self.workers[name] = Worker(
            begun.row if begun.kind != "stale" else worker.row, going=begun.kind == "go"
        )

    def repeats_an_unknown_end(self, name: str) -> None:
        worker = self.workers[name]
        if worker.row is not None and worker.row.state == "unknown":
            before = self.stored(worker.row)
            row = self.run_now(self.outbox.repeat_marked(worker.row.row_id, attempt=worker.row.attempt))
            if before.attempt != worker.row.attempt or before.state not in ("sending", "unknown"):
                assert row == before
            else:
                assert (row.state, row.marked, row.attempt) == ("ready", True, before.attempt + 1)
            self.workers[name] = Worker(row)

    def calls_the_platform(self, name: str) -> None:
        worker = self.workers[name]
        if worker.going and not worker.called and worker.row is not None:
            self.platform.copies.append((worker.row.part, worker.row.marked))
            worker.called = True

    def finishes(self, name: str, state: Any) -> None:
        worker = self.workers[name]
        if not worker.called or worker.row is None:
            return
        before = self.stored(worker.row)
        taken = self.run_now(
            self.outbox.finish(
                worker.row.row_id, attempt=worker.row.attempt, state=state, platform_id=name, now=self.now
            )
        )
        if before.attempt != worker.row.attempt or before.state not in ("sending", "unknown"):
            assert not taken or before.state == state
            assert self.stored(worker.row) == before
        else:
            assert taken
            assert self.stored(worker.row).state == state
        if taken and state == "sent":
            self.definite.setdefault(worker.row.row_id, name)
        self.workers[name] = Worker()

    @rule(name=WORKERS)
    def is_refused_for_now(self, name: str) -> None:
        worker = self.workers[name]
        if worker.going and not worker.called and worker.row is not None:
            before = self.stored(worker.row)
            row = self.run_now(
                self.outbox.back_to_ready(worker.row.row_id, attempt=worker.row.attempt, reason="429")
            )
            if before.attempt != worker.row.attempt or before.state != "sending":
                assert row == before
            self.workers[name] = Worker(row)

    @invariant()
    def no_unmarked_duplicate(self) -> None:
        for part in range(PARTS):
            assert self.platform.unmarked(part) <= 1

    @invariant()
    def what_was_sent_stays_sent(self) -> None:
        for row_id, name in self.definite.items():
            row = self.run_now(self.outbox.get(row_id))
            assert (row.state, row.platform_id) == ("sent", name)

    @invariant()
    def numbers_have_no_gaps_and_readers_miss_nothing(self) -> None:
        rows = self.run_now(self.outbox.of_turn("t"))
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        seen = [row.seq for row in self.run_now(self.outbox.tail("c", 0))]
        assert seen == list(range(1, len(seen) + 1))

    @precondition(lambda self: len(self.definite) == PARTS)
    @rule(name=WORKERS)
    def nothing_is_left_to_do(self, name: str) -> None:
        copies = len(self.platform.copies)
        self.prepares_and_begins(name)
        assert not self.workers[name].going
        assert len(self.platform.copies) == copies


TestDeliveryRaces = DeliveryRaces.TestCase
TestDeliveryRaces.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
