"""Several answers from one model at the same time: a thread that reads prompts piece by piece and decodes together.

An answer that is asked for joins the running ones before their next token; a long prompt is read in pieces, with
a token of every running answer between two of them. What a row of the cache holds of an ended answer is not read
again by the next one that begins with the same tokens, as the next turn of a conversation does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from triton_models.llm.decoder import BatchRow, Decoder
from triton_models.llm.sampler import Sampler
from triton_models.llm.text import GrowingText

ASK_EVERY_S = 0.05
"""How often an answer's reader is asked whether it still listens."""
PULSE_S = 2.0
"""How often a reader hears from the model, whatever it does: Triton does not tell of a process that was killed."""
LONGEST_QUEUE = 256


class TokenReader(Protocol):
    """Who gets an answer. Nothing of it raises."""

    def cancelled(self) -> bool: ...
    def pulse(self) -> None: ...
    def show(self, text: str) -> None: ...
    def end(self, told: dict[str, Any]) -> None: ...
    def fail(self, why: str) -> None: ...


@dataclass
class Job:
    """One answer: its prompt, what came of it, and who reads it."""

    prompt: list[int]
    limit: int
    sampler: Sampler
    text: GrowingText
    reader: TokenReader
    left_out: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    filled: int = 0
    reused: int = 0
    tokens: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    first_at: float = 0.0
    listens_at: float = 0.0

    @property
    def decoding(self) -> bool:
        return bool(self.tokens)


class QueueFull(Exception):
    """Too many answers wait."""


class Ended(Exception):
    """The model broke, or is unloaded; it answers nothing any more."""


class Scheduler:
    """Runs until it is closed. What breaks the model ends the thread, and every answer with it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._rows: list[Job | None] = [None] * decoder.rows
        self._kept: list[list[int]] = [[] for _ in self._rows]  # tokens that a free row still holds
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()
        threading.Thread(target=self._beat, name="pulse", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Raises `QueueFull` or `Ended`."""
        with self._changed:
            if self._closed:
                raise Ended
            if len(self._waiting) >= LONGEST_QUEUE:
                raise QueueFull
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=30)

    def _beat(self) -> None:
        while self._thread.is_alive():
            time.sleep(PULSE_S)
            with self._changed:
                jobs = [job for job in (*self._rows, *self._waiting) if job is not None]
            for job in jobs:
                job.reader.pulse()

    def _work(self) -> None:
        try:
            while self._take_in():
                self._read_prompts()
                self._decode()
        finally:
            self._abandon()

    def _take_in(self) -> bool:
        """Give waiting answers free rows; wait while there is nothing to do. False: closed."""
        with self._changed:
            while not self._closed and not self._waiting and not any(self._rows):
                self._changed.wait()
            while self._waiting and None in self._rows:
                self._place(self._waiting.popleft())
            closed = self._closed
            waiting = list(self._waiting)
        self._let_go(waiting)
        return not closed

    def _place(self, job: Job) -> None:
        """Into the free row that holds most of its prompt; of equals, the one that is least worth keeping."""
        free = [row for row, other in enumerate(self._rows) if other is None]
        same = {row: _same(self._kept[row], job.prompt) for row in free}
        row = max(free, key=lambda row: (same[row], -len(self._kept[row])))
        job.filled = job.reused = min(same[row], len(job.prompt) - 1)  # the last token gives the first logits
        self._rows[row] = job

    def _let_go(self, waiting: list[Job]) -> None:
        """End the answers that nobody listens to any more."""
        for row, job in enumerate(self._rows):
            if job is not None and self._unheard(job):
                self._finish(row, job, "cancelled")
        for job in waiting:
            if self._unheard(job):
                with self._changed:
                    self._waiting.remove(job)
                job.reader.end(self._told(job, "cancelled"))

    def _unheard(self, job: Job) -> bool:
        now = time.monotonic()
        if now - job.listens_at < ASK_EVERY_S:
            return False
        job.listens_at = now
        return job.reader.cancelled()

    def _read_prompts(self) -> None:
        """One piece of the prompt that has waited longest."""
        reading = [(job.asked_at, row) for row, job in enumerate(self._rows) if job and not job.decoding]
        if not reading:
            return
        row = min(reading)[1]
        job = self._rows[row]
        assert job is not None
        piece = job.prompt[job.filled : job.filled + self._decoder.piece]
        logits = self._decoder.read(row, piece, filled=job.filled)
        job.filled += len(piece)
        if job.filled == len(job.prompt):
            job.seen.update(job.prompt)
            job.first_at = time.monotonic()
            self._take(row, job, logits)

    def _decode(self) -> None:
        """One token for each answer whose prompt is read; rows between two of them run along idly."""
        busy = [row for row, job in enumerate(self._rows) if job and job.decoding]
        if not busy:
            return
        first, span = busy[0], range(busy[0], busy[-1] + 1)
        logits = self._decoder.step([self._next(row) for row in span], first=first)
        for row in busy:
            job = self._rows[row]
            assert job is not None
            job.filled += 1
            self._take(row, job, logits[row - first])

    def _next(self, row: int) -> BatchRow:
        """What an idle row writes stands behind what it holds, and is written over by its next token."""
        job, idle = self._rows[row], self._decoder.config.pad
        if job is None:
            return BatchRow(idle, len(self._kept[row]))
        return BatchRow(job.tokens[-1] if job.decoding else idle, job.filled)

    def _take(self, row: int, job: Job, logits: np.ndarray[Any, Any]) -> None:
        token = job.sampler.next(logits, job.seen)
        job.tokens.append(token)
        job.seen.add(token)
        if token in self._decoder.config.ends:
            self._finish(row, job, "stop")
            return
        if shown := job.text.add(token):
            job.reader.show(shown)
        if job.text.stopped:
            self._finish(row, job, "stop")
        elif len(job.tokens) >= job.limit or job.filled + 1 >= self._decoder.context:
            self._finish(row, job, "length")

    def _finish(self, row: int, job: Job, why: str) -> None:
        self._kept[row] = [*job.prompt, *job.tokens][: job.filled]
        self._rows[row] = None
        if why != "cancelled" and (rest := job.text.rest()):
            job.reader.show(rest)
        job.reader.end(self._told(job, why))

    def _told(self, job: Job, why: str) -> dict[str, Any]:
        now = time.monotonic()
        running_s = now - job.first_at
        later = len(job.tokens) - 1
        return {
            "finish": why,
            "input_tokens": len(job.prompt),
            "reused_tokens": job.reused,
            "output_tokens": len(job.tokens),
            "first_token_s": round(job.first_at - job.asked_at, 6) if job.first_at else None,
            "tokens_per_s": round(later / running_s, 2)
            if job.first_at and later > 0 and running_s > 0
            else None,
            "messages_left_out": job.left_out,
        }

    def _abandon(self) -> None:
        with self._changed:
            self._closed = True
            left = [job for job in (*self._rows, *self._waiting) if job is not None]
            self._rows = [None] * len(self._rows)
            self._waiting.clear()
        for job in left:
            job.reader.fail("the model ended before the answer did")


def _same(left: list[int], right: list[int]) -> int:
    """How many tokens both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
