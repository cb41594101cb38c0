"""The database: one writer a process on its own thread, readers on others; `backend` says which it is.

Writes that wait together are committed together, each in a savepoint of its own: one disk sync serves them
all and a failing one takes no other with it. A function passed here must run SQL only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from portico.crypto.keyring import Keyring
from portico.errors import Unavailable
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.backend import Backend, choose
from portico.storage.engine.sqlcipher import Connection

READERS = 2
WRITES_A_COMMIT = 64
"""More would let the first of a batch wait for too many others."""

T = TypeVar("T")
log = logger("storage")


@dataclass
class _Job:
    """A handed-over function and its end. As a context it keeps what the function raises for its caller."""

    work: Callable[[Connection], Any]
    durable: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # Catch-all: whatever the work raises belongs to its caller; the database thread goes on.
        self.error = error
        return True

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Database:
    """Open it once a process, close it at the end."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writes: SimpleQueue[_Job | None] = SimpleQueue()
        self._reads: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        writer = backend.connect(reading=False)
        readers = [backend.connect(reading=True) for _ in range(READERS)]
        self._threads = [
            threading.Thread(target=self._write_loop, args=(writer,), name="db-writer", daemon=True)
        ]
        for number, reader in enumerate(readers):
            name = f"db-reader-{number}"
            self._threads.append(
                threading.Thread(target=self._read_loop, args=(reader,), name=name, daemon=True)
            )
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(cls, home: Home, keyring: Keyring, settings: Settings | None = None) -> Database:
        """The one that `[database]` names; without settings the file of this home.

        Raises `Misconfigured`: a wrong key, or a database that is newer than this checkout.
        """
        backend = choose(home, keyring, settings)
        backend.prepare()
        return cls(backend)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one reading transaction: it sees one state of the database."""
        return await self._hand_over(self._reads, work, durable=False)

    async def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Run `work` in a writing transaction. Returns when committed; `durable`: and synced to the disk.

        Raises what `work` raised (its changes are undone), or `Unavailable` (locked, disk full).
        """
        return await self._hand_over(self._writes, work, durable=durable)

    def close(self) -> None:
        """Finishes what was handed over before; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            thread.join()

    async def _hand_over(
        self, queue: SimpleQueue[_Job | None], work: Callable[[Connection], T], *, durable: bool
    ) -> T:
        if self._closed:
            raise Unavailable("database", "closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, durable, loop, loop.create_future())
        queue.put(job)
        result: T = await job.future
        return result

    # --- the writer's thread ----------------------------------------------------------------------------

    def _write_loop(self, connection: Connection) -> None:
        going_on = True
        while going_on:
            batch, going_on = _next_batch(self._writes)
            if batch:
                _commit_together(self._backend, connection, batch)
                _settle(batch)
        connection.close()

    # --- a reader's thread ------------------------------------------------------------------------------

    def _read_loop(self, connection: Connection) -> None:
        while (job := self._reads.get()) is not None:
            _run_reading(self._backend, connection, job)
            _settle([job])
        connection.close()


def _next_batch(queue: SimpleQueue[_Job | None]) -> tuple[list[_Job], bool]:
    batch: list[_Job] = []
    job = queue.get()
    while job is not None:
        batch.append(job)
        if len(batch) >= WRITES_A_COMMIT:
            return batch, True
        try:
            job = queue.get_nowait()
        except Empty:
            return batch, True
    return batch, False


def _commit_together(backend: Backend, connection: Connection, batch: list[_Job]) -> None:
    try:
        backend.begin_writing(connection, durable=any(job.durable for job in batch))
        for job in batch:
            _run_in_savepoint(backend, connection, job)
        connection.execute("COMMIT")
    except backend.errors as error:
        _roll_back(backend, connection)
        for job in batch:
            job.error = job.error or backend.unavailable(error)
    except Unavailable as error:  # the connection is gone and cannot be had again yet
        for job in batch:
            job.error = job.error or error


def _run_in_savepoint(backend: Backend, connection: Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    with job:
        job.result = job.work(connection)
    if job.error is not None:
        job.error = _as_told(backend, job.error)
        # where the whole transaction has ended (a full disk), this fails and with it the batch
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _run_reading(backend: Backend, connection: Connection, job: _Job) -> None:
    with job:
        backend.begin_reading(connection)
        job.result = job.work(connection)
        connection.execute("COMMIT")
    if job.error is not None:
        job.error = _as_told(backend, job.error)
    _roll_back(backend, connection)


def _as_told(backend: Backend, error: BaseException) -> BaseException:
    if isinstance(error, backend.errors) and backend.is_away(error):
        translated: BaseException = backend.unavailable(error)
        translated.__cause__ = error
        return translated
    return error


def _roll_back(backend: Backend, connection: Connection) -> None:
    """Where even this fails the connection is gone, and the transaction with it."""
    if connection.in_transaction:
        with suppress(*backend.errors):
            connection.execute("ROLLBACK")


def _settle(batch: list[_Job]) -> None:
    for loop in {job.loop for job in batch}:
        jobs = [job for job in batch if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle_all, jobs)
        except RuntimeError:  # its event loop has ended: no caller waits any more
            log.debug("storage.nobody_waits", jobs=len(jobs))


def _settle_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()
