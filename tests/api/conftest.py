"""A real stack with channels of its own, small limits, and clients of many kinds before its edge."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx2
import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from portico.crypto.keyring import open_keyring
from portico.ids import conversation_id
from portico.storage.access import Access
from portico.storage.engine.database import Database
from tests.fakes.hook import SECRET, FakeReceiver
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support import RunningStack

Answer = TypeVar("Answer")

TELEGRAM_SECRET = "a-secret-of-the-tests"
FAILED_PER_MINUTE = 25
MESSAGES_PER_MINUTE = 12
REQUEST_TIMEOUT_S = 1.0
WAITING_AFTER_S = 1
SETTINGS = """
[limits]
failed_verifications_per_minute = {failed}
messages_per_minute = {messages}
request_timeout_s = {timeout}
waiting_after_s = {waiting}
[channels.telegram.default]
token = "{token}"
secret = "{telegram_secret}"
api_base = "{telegram}"
receive = "webhook"
admit = "anyone"
[channels.hook.shop]
secret = "{hook_secret}"
reply_url = "{receiver}"
admit = "anyone"
"""


class EdgeStack:
    """The stack, and what stands outside it."""

    def __init__(self, running: RunningStack, telegram: FakeTelegram, receiver: FakeReceiver) -> None:
        self.running = running
        self.telegram = telegram
        self.receiver = receiver
        self._sources = itertools.count(2)
        self._keys: dict[str, str] = {}

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def owner_key(self) -> str:
        return self.running.home.cli_key.read_text().strip()

    def stranger(self, **options: object) -> httpx2.Client:
        """A client without a key, at an address of this machine that nobody had before."""
        number = next(self._sources)
        transport = httpx2.HTTPTransport(local_address=f"127.0.{number // 200}.{number % 200 + 2}")
        return httpx2.Client(base_url=self.url, transport=transport, timeout=20, **options)  # type: ignore[arg-type]

    def person(self, key: str = "") -> httpx2.Client:
        """A client with a key, the owner's where none is given."""
        headers = {"Authorization": f"Bearer {key or self.owner_key}"}
        return httpx2.Client(base_url=self.url, headers=headers, trust_env=False, timeout=70)

    @contextmanager
    def browser(self, client: httpx2.Client) -> Iterator[httpx2.Client]:
        """The same person with a session's cookie instead of a key."""
        link = client.post("/v1/login-links").json()["path"]
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=20) as signed_in:
            assert signed_in.get(link).status_code == 303
            yield signed_in

    def key(self, role: str, name: str = "of a test") -> str:
        return self.database(lambda database: Access(database).create_key(role, name))

    def key_of(self, name: str) -> str:
        """The key of a person who exists for one test only, and has its limits for itself."""
        if name not in self._keys:
            self._keys[name] = self.key("member", name)
        return self._keys[name]

    def database(self, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
        """Work on the stack's database beside the running processes."""

        async def run() -> Answer:
            database = Database.open(self.running.home, open_keyring(self.running.home))
            try:
                return await work(database)
            finally:
                database.close()

        return asyncio.run(run())

    def workflow_id(self, channel: str, account: str, chat: str) -> str:
        secret = open_keyring(self.running.home).current("id").secret
        return conversation_id(secret, channel=channel, account=account, chat=chat)

    def has_workflow(self, channel: str, account: str, chat: str) -> bool:
        """Whether anything of this chat was ever stored, by the word of Temporal itself."""
        return asyncio.run(self._has_workflow(self.workflow_id(channel, account, chat)))

    async def _has_workflow(self, workflow_id: str) -> bool:
        client = await Client.connect(self.running.address("temporal"))
        try:
            await client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    def counted(self, channel: str, end: str) -> float:
        """How many events of a channel ended so, as `/metrics` tells."""
        with self.person() as owner:
            lines = owner.get("/metrics").text.splitlines()
        wanted = f'portico_events_total{{channel="{channel}",end="{end}"}} '
        return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0.0)


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStack]:
    with FakeTelegram() as telegram, FakeReceiver() as receiver:
        settings = SETTINGS.format(
            failed=FAILED_PER_MINUTE,
            messages=MESSAGES_PER_MINUTE,
            timeout=REQUEST_TIMEOUT_S,
            waiting=WAITING_AFTER_S,
            token=TOKEN,
            telegram_secret=TELEGRAM_SECRET,
            telegram=telegram.url,
            hook_secret=SECRET,
            receiver=receiver.reply_url,
        )
        with RunningStack(tmp_path_factory.mktemp("edge"), settings=settings) as running:
            yield EdgeStack(running, telegram, receiver)


@pytest.fixture
def owner(edge: EdgeStack) -> Iterator[httpx2.Client]:
    with edge.person() as client:
        yield client


@pytest.fixture
def person(edge: EdgeStack) -> Iterator[httpx2.Client]:
    """Somebody with a key of their own, whose limits nobody else uses up."""
    with edge.person(edge.key("member", "somebody")) as client:
        yield client


@pytest.fixture
def stranger(edge: EdgeStack) -> Iterator[httpx2.Client]:
    with edge.stranger() as client:
        yield client
