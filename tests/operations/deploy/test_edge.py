"""An edge for webhooks alone: a real message through it and back, and what its stolen folder is worth."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from cryptography.exceptions import InvalidTag
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from portico.crypto.keyring import PURPOSES, DataKey, Keyring, open_keyring
from portico.ids import conversation_id
from portico.temporal.codec import ENCODING_AES, ENCODING_SEALED, EncryptionCodec, RefusedPayload
from tests.fakes.otlp import FakeCollector
from tests.guarantees.platforms import Bot, new_chat
from tests.portico.servers import free_port
from tests.support import CHECKOUT, RunningStack, until

SECRET = "the-secret-of-the-webhook"
SETTINGS = """
local_only = false
[models]
triton = "127.0.0.1:1"
detect = false
[channels.telegram.default]
token = "{token}"
secret = "secret:telegram"
api_base = "{bot}"
bot_username = "portico_test_bot"
admit = "anyone"
receive = "webhook"
rate_per_chat_per_s = 0
"""
CORE = ("temporal", "opa", "s3", "worker")


@dataclass
class Hybrid:
    """A core without an edge, and an edge with a home of its own before it."""

    core: RunningStack
    bot: Bot
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def webhook(self) -> str:
        return f"{self.url}/webhooks/telegram"


def start_edge(folder: Path, port: int, **more: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    return subprocess.Popen(
        (sys.executable, "-m", "entrypoints.cli.main", "serve", "api", "--only", "webhooks"),
        cwd=CHECKOUT,
        env=kept | {"PORTICO_HOME": str(folder), "PORTICO_PORT": str(port)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    with Bot() as bot:
        home = tmp_path_factory.mktemp("core")
        core = RunningStack(home, settings=SETTINGS.format(token=bot.token, bot=bot.url), only=CORE)
        assert core.run("secrets", "set", "telegram", stdin=SECRET + "\n").returncode == 0
        try:
            core.start()
            folder = tmp_path_factory.mktemp("dmz") / "edge"
            made = core.run("deploy", "edge", str(folder), "--gate", core.address("temporal"))
            assert made.returncode == 0, made.stderr
            settings = folder / "portico.toml"
            settings.write_text(
                re.sub(r"(?m)^tls_.*\n", "", settings.read_text())
            )  # the gate has tests of its own
            port = free_port()
            process = start_edge(folder, port)
            try:
                until(
                    lambda: is_ready(f"http://127.0.0.1:{port}") or process.poll() is not None, timeout_s=60
                )
                assert process.poll() is None, process.communicate()
                yield Hybrid(core, bot, folder, port)
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)
        finally:
            core.stop()


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def payloads_of(hybrid: Hybrid, chat: int) -> list[Payload]:
    """As they lie in Temporal: nothing decodes them here."""
    id_key = open_keyring(hybrid.core.home).current("id").secret
    name = conversation_id(id_key, channel="telegram", account="default", chat=str(chat))
    client = await Client.connect(hybrid.core.address("temporal"))
    history = await client.get_workflow_handle(name).fetch_history()
    found: list[Payload] = []
    for event in history.events:
        for message in (
            event.workflow_execution_started_event_attributes.input,
            event.workflow_execution_signaled_event_attributes.input,
            event.activity_task_scheduled_event_attributes.input,
            event.activity_task_completed_event_attributes.result,
        ):
            found += list(message.payloads)
    return found


def test_a_message_through_it_is_answered_and_it_keeps_nothing(hybrid: Hybrid) -> None:
    before = content_of(hybrid.folder)
    chat = new_chat()
    update = hybrid.bot.text("/heron", chat=chat)
    assert hybrid.bot.deliver(hybrid.webhook, update, secret=SECRET) == 200
    (reply,) = hybrid.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert "/heron" in reply.text
    assert hybrid.bot.deliver(hybrid.webhook, update, secret=SECRET) == 200
    hybrid.bot.deliver(hybrid.webhook, hybrid.bot.text("/stork", chat=chat), secret=SECRET)
    replies = hybrid.bot.wait_for_messages(2, chat=chat, timeout_s=60)
    assert "/stork" in replies[1].text, "a repeat through it is no second turn"
    assert content_of(hybrid.folder) == before


def test_nothing_that_it_has_opens_what_is_stored(hybrid: Hybrid) -> None:
    chat = new_chat()
    hybrid.bot.deliver(hybrid.webhook, hybrid.bot.text("/heron", chat=chat), secret=SECRET)
    hybrid.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    payloads = asyncio.run(payloads_of(hybrid, chat))
    kinds = [payload.metadata["encoding"] for payload in payloads]
    assert kinds.count(ENCODING_SEALED) >= 2 and kinds.count(ENCODING_AES) >= 1
    core = EncryptionCodec(open_keyring(hybrid.core.home))
    assert any(b"/heron" in core.decrypt(payload).data for payload in payloads), "the core reads it"
    keys = every_key_in(hybrid.folder)
    assert len(keys) >= 3
    for payload in payloads:
        key_id = payload.metadata["key-id"].decode()
        for secret in keys:
            for purpose in PURPOSES:
                stolen = EncryptionCodec(Keyring((DataKey(key_id, purpose, secret),)))
                with pytest.raises(RefusedPayload):
                    stolen.decrypt(payload)
            with pytest.raises((InvalidTag, ValueError)):
                DataKey("", "", secret).decrypt(payload.data)
    assert hybrid.bot.token.encode() not in b"".join(content_of(hybrid.folder).values()), "no bot's token"


def every_key_in(folder: Path) -> set[bytes]:
    """Whatever may be 32 bytes, in any of its files."""
    found: set[bytes] = set()
    for content in content_of(folder).values():
        for text in re.findall(rb"[A-Za-z0-9+/=_-]{32,}", content):
            for piece in (text, text[:44], text[-44:]):
                try:
                    raw = base64.b64decode(piece + b"=" * (-len(piece) % 4))
                except ValueError:
                    raw = b""
                found |= {one for one in (raw[:32], raw[-32:], piece[:32]) if len(one) == 32}
    return found


@pytest.mark.parametrize(
    "path",
    ["/", "/chat", "/login", "/docs", "/openapi.json", "/mcp", "/temporal/", "/codec/decode", "/v1/tools",
     "/v1/messages", "/v1/conversations", "/v1/invocations", "/v1/models", "/v1/dead-letters", "/webhooks/nosuch"],
)  # fmt: skip
def test_there_is_no_other_door(hybrid: Hybrid, path: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx2.request(method, hybrid.url + path, trust_env=False)
        assert answer.status_code in (404, 405), (method, answer.status_code)


def test_a_forged_webhook_is_refused_and_counts_are_for_who_shows_the_token(hybrid: Hybrid) -> None:
    assert httpx2.get(f"{hybrid.url}/metrics", trust_env=False).status_code == 401
    chat = new_chat()
    assert hybrid.bot.deliver(hybrid.webhook, hybrid.bot.text("/x", chat=chat), secret="guess") == 401
    assert httpx2.post(f"{hybrid.url}/webhooks/hook", trust_env=False, content=b"{}").status_code == 401


def test_a_body_that_would_need_objects_is_refused_and_not_acked(hybrid: Hybrid) -> None:
    update = hybrid.bot.text("x" * 300_000, chat=new_chat())
    assert hybrid.bot.deliver(hybrid.webhook, update, secret=SECRET) == 413


def test_it_sends_its_last_spans_before_it_ends(hybrid: Hybrid) -> None:
    with FakeCollector() as collector:
        port = free_port()
        process = start_edge(hybrid.folder, port, PORTICO_TELEMETRY__OTLP_ENDPOINT=collector.url)
        try:
            until(lambda: is_ready(f"http://127.0.0.1:{port}") or process.poll() is not None, timeout_s=60)
            update = hybrid.bot.text("/heron", chat=new_chat())
            webhook = f"http://127.0.0.1:{port}/webhooks/telegram"
            for _ in range(2):  # a batch goes out each second; who ends right after an event has not sent it
                assert hybrid.bot.deliver(webhook, update, secret=SECRET) == 200
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert [span.part for span in collector.spans].count("portico-edge") >= 2


def with_keyring(folder: Path) -> dict[str, str]:
    (folder / "keyring.json").write_text("{}")
    return {}


def with_master_key(folder: Path) -> dict[str, str]:
    return {"PORTICO_MASTER_KEY": base64.b64encode(bytes(32)).decode()}


def without_public_key(folder: Path) -> dict[str, str]:
    return {"PORTICO_EDGE__SEAL_KEY": "short"}


def without_id_key(folder: Path) -> dict[str, str]:
    (folder / "secrets" / "id_key").unlink()
    return {}


def without_address(folder: Path) -> dict[str, str]:
    return {"PORTICO_TEMPORAL__ADDRESS": ""}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (with_keyring, "keyring.json has no place"),
        (with_master_key, "PORTICO_MASTER_KEY has no place"),
        (without_public_key, "edge.seal_key is not 32 bytes"),
        (without_id_key, "file:secrets/id_key is not there"),
        (without_address, "temporal.address is not set"),
    ],
)
def test_a_folder_that_is_too_much_or_too_little_is_told(
    hybrid: Hybrid, tmp_path: Path, spoil: Callable[[Path], dict[str, str]], told: str
) -> None:
    shutil.copytree(hybrid.folder, tmp_path / "edge")
    process = start_edge(tmp_path / "edge", free_port(), **spoil(tmp_path / "edge"))
    said = process.communicate(timeout=30)[1].strip().splitlines()
    assert process.returncode != 0
    assert len(said) == 1 and told in said[0], said


def test_a_folder_that_is_not_empty_is_left_alone(hybrid: Hybrid, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = hybrid.core.run("deploy", "edge", str(tmp_path), "--gate", "core.example.com:7443")
    assert done.returncode == 1 and "is not empty" in done.stderr
    bad = hybrid.core.run("deploy", "edge", str(tmp_path / "new"), "--gate", "core.example.com")
    assert bad.returncode == 1 and "HOST:PORT" in bad.stderr
