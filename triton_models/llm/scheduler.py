"""Several answers from one model at the same time: a thread that reads prompts piece by piece and decodes together.

An answer that is asked for joins the running ones before their next token; a long prompt is read in pieces, with
a token of every running answer between two of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from triton_models.llm.decoder import Decoder, Row
from triton_models.llm.sampler import Sampler
from triton_models.llm.text import GrowingText

ASK_EVERY_S = 0.05
"""How often an answer's reader is asked whether it still listens."""
PULSE_S = 2.0
"""How often a reader hears from the model, whatever it does: Triton does not tell of a process that was killed."""
LONGEST_QUEUE = 256


class Reader(Protocol):
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
    reader: Reader
    left_out: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    filled: int = 0
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
            for row, job in enumerate(self._rows):
                if job is None and self._waiting:
                    self._rows[row] = self._waiting.popleft()
            closed = self._closed
            waiting = list(self._waiting)
        self._let_go(waiting)
        return not closed

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
        """One token for each answer whose prompt is read."""
        last = max((row for row, job in enumerate(self._rows) if job and job.decoding), default=-1)
        if last < 0:
            return
        idle = self._decoder.config.pad
        rows = [
            Row(job.tokens[-1] if job and job.decoding else idle, job.filled if job else 0)
            for job in self._rows[: last + 1]
        ]  # what an idle row writes is written over when its own token comes
        logits = self._decoder.step(rows)
        for row, job in enumerate(self._rows[: last + 1]):
            if job and job.decoding:
                job.filled += 1
                self._take(row, job, logits[row])

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
