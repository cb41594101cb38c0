"""A world for workflow tests: a worker in this process over the real Temporal, OPA, S3 and Triton.

Everything is real but Telegram: own home, keys and database, the workflow sandbox on.

    async with open_world(inner_stack, tmp_path) as world:
        await world.say("/help", chat=7)
        await world.replies(7)
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.boundary import BoundaryInterceptor
from api.intake import Intake, Stored
from channels import registry, web
from channels.base import RawRequest
from channels.registry import load
from entrypoints.serve.wiring import Foundation
from entrypoints.serve.worker import WORKFLOWS, activities, make_deps
from portico.contracts.messages import ConversationRef, Envelope
from portico.contracts.names import TASK_QUEUE
from portico.crypto.keyring import open_keyring
from portico.settings.connections import connect_to
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.dead_letters import DeadLetter
from portico.storage.engine.database import Database
from portico.storage.outbox_rows import OutboxRow, fetch
from portico.temporal.client import connect, ensure_namespace
from tests.fakes.openai import FakeOpenAI
from tests.fakes.telegram import TOKEN, FakeTelegram, Sent
from tests.support import RunningStack
from tests.workflows.faults import Faults
from tests.workflows.gate import Gate

SECRET = "secret-of-the-tests"


BOT = "portico_test_bot"


WAIT_S = 20.0


def settings_for(telegram: FakeTelegram, model: FakeOpenAI, **tables: Any) -> Settings:
    """Three accounts of the one bot: anyone may talk, paired people may, and one with a rate."""
    account = {
        "token": TOKEN,
        "secret": SECRET,
        "api_base": telegram.url,
        "bot_username": BOT,
        "rate_per_s": 0,
        "rate_per_chat_per_s": 0,
    }
    route = {"kind": "openai", "base_url": model.base_url, "model": "tiny", "first_token_timeout_s": 30}
    return Settings.model_validate(
        {
            "channels": {
                "telegram": {
                    "default": account | {"admit": "anyone"},
                    "paired": account | {"admit": "paired"},
                    "limited": account | {"admit": "anyone", "rate_per_chat_per_s": 4, "burst": 1},
                }
            },
            "llm": {"routes": {"main": route}},
            "models": {"detect": False},
            **tables,
        }
    )


@dataclass
class World:
    """What tests use. Each test takes a chat of its own: chats are conversations."""

    ground: Foundation
    client: Client
    telegram: FakeTelegram
    model: FakeOpenAI
    faults: Faults = field(default_factory=Faults)
    gate: Gate = field(default_factory=Gate)
    owner: str = ""
    _chats: Any = field(default_factory=lambda: itertools.count(5_000))

    def __post_init__(self) -> None:
        self.deps = replace(make_deps(self.ground), catalog=self.gate.catalog())
        self.intake = Intake(
            self.client,
            self.ground.keyring,
            self.deps.blobs,
            signal_bytes=self.ground.settings.limits.signal_bytes,
        )

    @asynccontextmanager
    async def worker(self, runner: WorkflowRunner | None = None, **options: Any) -> AsyncIterator[Worker]:
        """The production worker's lists and options, but for the sandbox and the faults."""
        made = Worker(
            self.client,
            task_queue=TASK_QUEUE,
            workflows=list(WORKFLOWS),
            activities=activities(self.deps),
            interceptors=[BoundaryInterceptor(), self.faults],
            workflow_runner=runner or SandboxedWorkflowRunner(),
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            graceful_shutdown_timeout=timedelta(seconds=options.pop("grace_s", 3)),
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
            **options,
        )
        async with made:
            yield made

    # --- people ---------------------------------------------------------------------------------------

    def new_chat(self) -> int:
        return int(next(self._chats))

    def id_of(self, chat: int | str, *, account: str = "default", channel: str = "telegram") -> str:
        return self.intake.conversation_id(channel=channel, account=account, chat=str(chat))

    def ref_of(
        self, chat: int | str, *, account: str = "default", channel: str = "telegram"
    ) -> ConversationRef:
        conversation = self.id_of(chat, account=account, channel=channel)
        return ConversationRef(id=conversation, channel=channel, account=account, chat=str(chat))

    def handle(
        self, chat: int | str, *, account: str = "default", channel: str = "telegram"
    ) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.id_of(chat, account=account, channel=channel))

    async def say(self, text: str, *, chat: int, account: str = "default", **more: Any) -> dict[str, Any]:
        """A person writes on Telegram. Returns the update, so that it can be told again."""
        update = self.telegram.text(text, chat=chat, **more)
        await self.tell(update, account=account)
        return update

    async def tell(self, update: dict[str, Any], *, account: str = "default") -> None:
        """Telegram calls the webhook; returns when the event is stored."""
        request = RawRequest(
            "POST",
            f"/webhooks/telegram/{account}",
            {"x-telegram-bot-api-secret-token": SECRET},
            {},
            orjson.dumps(update),
        )
        received = load("telegram").receive(request, self.ground.accounts.get("telegram", account))
        await self.intake.store_all(received.events)

    async def pair(self, sender: int, *, role: str = "member") -> None:
        """Let a Telegram user in; groups hear paired people only."""
        people, now = self.deps.people, time.time()
        code = await people.offer_code("telegram", "default", str(sender), "Ada", str(sender), now=now)
        await people.approve(code, role=role, now=now)

    async def press(self, message: Sent, data: str, *, sender: int) -> None:
        """A person presses a button below one of our messages."""
        update = self.telegram.press(data, chat=int(message.chat))
        update["callback_query"]["from"]["id"] = sender
        await self.tell(update)

    async def say_in_group(self, text: str, *, group: int, sender: int) -> dict[str, Any]:
        update = self.telegram.text(text, chat=group, sender=sender)
        update["message"]["chat"] = {"id": group, "type": "group", "title": "Friends"}
        if f"@{BOT}" in text:
            offset = text.index(f"@{BOT}")
            mention = {"type": "mention", "offset": offset, "length": len(BOT) + 1}
            update["message"]["entities"] = [mention]
        await self.tell(update)
        return update

    async def say_on_web(self, text: str, *, conversation: str) -> Stored:
        event = web.event(
            id=uuid.uuid4().hex, conversation=conversation, text=text, person_id=self.owner, locale="en"
        )
        return await self.intake.store(event)

    async def signal(self, chat: int | str, envelope: dict[str, Any], **where: str) -> None:
        """An envelope as some other release might have written it."""
        await self.handle(chat, **where).signal("receive", envelope)

    # --- what happened --------------------------------------------------------------------------------

    async def replies(self, chat: int, count: int = 1, *, timeout_s: float = WAIT_S) -> list[Sent]:
        return list(
            await self.telegram.until(
                lambda: (
                    [one for one in self.telegram.messages if one.chat == str(chat)][: count or None]
                    if len(self.telegram.texts(chat)) >= count
                    else []
                ),
                timeout_s=timeout_s,
                what=f"{count} replies in chat {chat}; there are {self.telegram.texts(chat)}",
            )
        )

    async def rows(
        self, chat: int | str, *, account: str = "default", channel: str = "telegram"
    ) -> list[OutboxRow]:
        conversation = self.id_of(chat, account=account, channel=channel)
        found = await self.ground.database.read(
            lambda connection: fetch(connection, "conversation_id = ? ORDER BY seq", (conversation,))
        )
        return list(found)

    async def letters(
        self, chat: int | str, *, account: str = "default", channel: str = "telegram"
    ) -> list[DeadLetter]:
        conversation = self.id_of(chat, account=account, channel=channel)
        return [one for one in await self.deps.dead_letters.list() if one.conversation_id == conversation]

    async def letter(self, chat: int | str, **where: str) -> DeadLetter:
        """The only dead letter of a conversation, once it is there."""
        await eventually(lambda: self.letters(chat, **where), what="a dead letter")
        (found,) = await self.letters(chat, **where)
        return found

    async def turns(self, chat: int, **where: str) -> int:
        return int(await self.handle(chat, **where).query("turns"))

    async def run_id(self, chat: int, **where: str) -> str:
        return str((await self.handle(chat, **where).describe()).run_id)

    async def renewed(self, chat: int, before: str, **where: str) -> str:
        """The run that follows `before`."""

        async def other() -> str:
            now = await self.run_id(chat, **where)
            return now if now != before else ""

        return str(await eventually(other, what="a new run"))


async def eventually(true: Callable[[], Any], *, timeout_s: float = WAIT_S, what: str = "the state") -> Any:
    """What `true` gives, once it is true: for states that tell nobody when they change."""
    end = time.monotonic() + timeout_s
    while True:
        found = true()
        value = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        await asyncio.sleep(0.03)


def make_ground(stack: RunningStack, home: Home, settings: Settings) -> Foundation:
    """A foundation of its own, on the parts of a running stack."""
    home.make()
    if not home.models.exists():
        home.models.symlink_to(stack.home.models)
    keyring = open_keyring(home)
    connections = connect_to(stack.settings, stack.home)
    if settings.temporal.address:
        connections = replace(connections, temporal=settings.temporal.address)
    connections = replace(connections, namespace=settings.temporal.namespace)
    return Foundation(
        home=home,
        settings=settings,
        keyring=keyring,
        connections=connections,
        database=Database.open(home, keyring, settings),
        resolve=str,
        accounts=registry.accounts(settings, str),
    )


@asynccontextmanager
async def open_world(
    stack: RunningStack, root: Path, *, temporal: str = "", namespace: str = "", **tables: Any
) -> AsyncIterator[World]:
    """Everything but a worker. `temporal`: the address of another server than the stack's.

    With a `namespace` of its own it shares no workflow and no version with other tests. `tables` are settings.
    """
    if temporal or namespace:
        tables["temporal"] = {"address": temporal} | ({"namespace": namespace} if namespace else {})
    with FakeTelegram() as telegram, FakeOpenAI() as model:
        ground = make_ground(stack, Home(root), settings_for(telegram, model, **tables))
        client = await connect(ground.connections, ground.keyring)
        if temporal or namespace:
            await ensure_namespace(client, 1)
        world = World(ground, client, telegram, model)
        world.owner = await world.deps.people.ensure_owner()
        try:
            yield world
        finally:
            await _terminate_all(client)
            await load("telegram").close()
            await world.deps.routes.close()
            await world.deps.live.close()
            await world.deps.policy.close()
            await world.deps.understand.close()
            ground.database.close()


async def _terminate_all(client: Client) -> None:
    """The next world has other keys: it could not read what these runs hold."""
    async for one in client.list_workflows("ExecutionStatus = 'Running'"):
        with suppress(RPCError):
            await client.get_workflow_handle(one.id).terminate("the tests are over")


def envelope_of(update: dict[str, Any], **more: Any) -> Envelope:
    """The envelope that the edge makes of an update of the default account."""
    return Envelope(
        dedup_keys=(f"telegram:default:{update['update_id']}",),
        received_at=time.time(),
        turn=uuid.uuid4().hex,
        body=update,
        **more,
    )


__all__ = ["SECRET", "World", "envelope_of", "eventually", "make_ground", "open_world"]
