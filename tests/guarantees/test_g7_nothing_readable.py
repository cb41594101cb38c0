"""G7: nothing readable at rest. A conversation full of markers, then every file of the home is searched for them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType

from tests.fakes.openai import FakeOpenAI
from tests.fakes.telegram import refuse
from tests.guarantees.gateway import SECRET, Gateway, settings_for
from tests.guarantees.history import all_runs, temporal
from tests.guarantees.platforms import Bot
from tests.support import RunningStack

pytestmark = pytest.mark.alone

CHAT = 491701234567
NAME = "Wilhelmina"
TOKEN = "88001:fresh-token-QmF6ZWxHZXVzZQ"
SAID = "Reykjanesbraut"
WEB_SAID = "Kirkjubaejarklaustur"
COMMANDED = "hvannadalshnukur"
ANSWERED = "Thjodvegahatid"
FILE_TEXT = "Eyjafjallajokull erupts in the attachment"
FILE_NAME = "snaefellsnes.txt"
DEAD = "Vatnajokulsthjodgardur"
MARKERS = (str(CHAT), NAME, TOKEN, SAID, WEB_SAID, COMMANDED, ANSWERED, FILE_TEXT, FILE_NAME, DEAD)


def shapes(marker: str) -> Iterator[bytes]:
    """A text in every shape in which it could lie in a file without being encrypted."""
    if marker.isdigit():
        yield int(marker).to_bytes(6)  # as SQLite stores it
        yield int(marker).to_bytes(8, "little")
    for text in {marker, marker.lower(), marker.upper()}:
        plain = text.encode()
        yield plain
        yield text.encode("utf-16-le")
        yield text.encode("utf-16-be")
        yield plain.hex().encode()
        yield plain.hex().upper().encode()
        yield urllib.parse.quote(text, safe="").encode()
        yield json.dumps(text)[1:-1].encode()
        for shift in range(3):
            yield from based(plain, shift)


def based(plain: bytes, shift: int) -> Iterator[bytes]:
    """Base64 of the text where it begins `shift` bytes into a group of three: the part that is always the same."""
    whole = base64.b64encode(b"\0" * shift + plain)
    first = (shift * 8 + 5) // 6
    last = (shift + len(plain)) * 8 // 6
    yield whole[first:last]
    yield whole[first:last].translate(bytes.maketrans(b"+/", b"-_"))


def unpacked(content: bytes) -> Iterator[bytes]:
    """The content and every gzip or zlib stream in it."""
    yield content
    for found in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", content):
        window = zlib.MAX_WBITS | 32
        try:
            inflated = zlib.decompressobj(window).decompress(content[found.start() :], 1 << 24)
        except zlib.error:
            continue
        if len(inflated) > 16:
            yield inflated


def searched(root: Path) -> list[Path]:
    """Every file but links: a link's target is searched where it lies, or belongs to somebody else."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def found_in(root: Path, markers: tuple[str, ...]) -> list[str]:
    wanted = {shape: marker for marker in markers for shape in shapes(marker)}
    pattern = re.compile(b"|".join(re.escape(shape) for shape in wanted))
    found = []
    for path in searched(root):
        if "models" in path.relative_to(root).parts[:1]:
            continue  # built from the checkout before anybody said a word
        for content in unpacked(path.read_bytes()):
            hits = {wanted[hit] for hit in pattern.findall(content)}
            found += [f"{marker} in {path.relative_to(root)}" for marker in sorted(hits)]
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A stack of its own, with the token in the encrypted store, after a conversation that touched every part."""
    with Bot(token=TOKEN) as bot, FakeOpenAI() as model:
        root = tmp_path_factory.mktemp("private")
        settings = settings_for(bot, model, token="secret:telegram").replace(
            f'secret = "{SECRET}"', 'secret = "secret:telegram-webhook"'
        )
        stack = RunningStack(root, settings=settings)
        store(stack, "telegram", TOKEN)
        store(stack, "telegram-webhook", SECRET)
        try:
            stack.start()
            bot.webhook = {"secret_token": SECRET}
            yield Gateway(stack, bot, model)
        finally:
            stack.stop()


def store(stack: RunningStack, name: str, value: str) -> None:
    stored = stack.run("secrets", "set", name, stdin=f"{value}\n")
    assert stored.returncode == 0, stored.stderr


def talk(gateway: Gateway) -> None:
    """Text, command, tool, attachment, model, web, a failure, parts that are unavailable, and kills between them."""
    bot = gateway.bot
    person = {"id": CHAT, "is_bot": False, "first_name": NAME, "language_code": "en"}
    more: dict[str, Any] = {"from": person}
    gateway.model.say(f"{ANSWERED} ", "is my answer")
    gateway.say(f"Write a poem about {SAID}", chat=CHAT, **more)
    bot.wait_for_messages(1, chat=CHAT, timeout_s=60)
    bot.add_file("file-1", FILE_TEXT.encode())
    document = {
        "file_id": "file-1",
        "file_unique_id": "u1",
        "file_name": FILE_NAME,
        "file_size": len(FILE_TEXT),
    }
    gateway.say(f"/{COMMANDED}", chat=CHAT, **more)
    gateway.say("/calc 20 + 22", chat=CHAT, **more)
    gateway.say("", chat=CHAT, document=document, caption=f"look at {SAID}", **more)
    bot.wait_for_messages(4, chat=CHAT, timeout_s=60)
    assert gateway.call("POST", "/v1/messages?wait_s=50", {"text": f"Write about {WEB_SAID}"}).status == 200
    bot.script_chat(CHAT, refuse(403, f"Forbidden: {NAME} blocked the bot"))
    gateway.say(f"/{DEAD}", chat=CHAT, **more)
    bot.wait_until(lambda: gateway.letters_of(CHAT), timeout_s=60)
    with gateway.away("opa"):
        gateway.say(f"Write once more about {SAID}", chat=CHAT, **more)
        gateway.stack.kill("worker")
    gateway.stack.wait_ready("worker", timeout_s=60)
    bot.wait_for_messages(5, chat=CHAT, timeout_s=60)
    forged = bot.text(f"forged {SAID}", chat=CHAT, **more)
    assert bot.deliver(gateway.webhook(), forged, secret="not-the-secret") == 401
    assert bot.deliver(gateway.webhook(), f"no JSON {SAID}".encode(), secret=SECRET) in (200, 400)
    gateway.stack.run("send", f"say {WEB_SAID}")


async def test_nothing_that_was_said_can_be_read_at_rest(told: Gateway) -> None:
    talk(told)
    await no_name_in_temporal(told)
    assert found_in(told.stack.home.root, MARKERS) == [], "while it runs"
    told.stack.stop()
    files = searched(told.stack.home.root)
    assert len(files) > 20
    assert sum(path.stat().st_size for path in files if "temporal" in path.parts) > 10_000
    assert found_in(told.stack.home.root, MARKERS) == [], "after it was stopped"
    open_names = found_in(told.stack.home.root, (told.workflow_of(CHAT),))
    assert any(" in temporal/" in hit for hit in open_names), (
        "what is not secret is found, so the search reads"
    )


async def no_name_in_temporal(gateway: Gateway) -> None:
    """Ids, search attributes, types and whatever else a history carries outside of payloads."""
    client = await temporal(gateway)
    conversations = 0
    async for workflow_id, run_id in all_runs(client):
        assert re.fullmatch(r"(conversation-[a-z2-7]{26}|tool-[0-9a-f]{32}-\d+)", workflow_id), workflow_id
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
        attributes = {pair.key.name: str(pair.value) for pair in described.typed_search_attributes}
        allowed = {"telegram", "web", "hook", "open", "attention"}
        named = {name: value for name, value in attributes.items() if name.startswith("Portico")}
        assert set(named.values()) <= allowed, named
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        written = history.to_json()
        assert not [
            marker for marker in MARKERS for shape in shapes(marker) if shape.decode("latin-1") in written
        ]
        conversations += any(
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED for event in history.events
        )
    assert conversations >= 2


def test_the_search_finds_what_lies_open(tmp_path: Path) -> None:
    marker = "Eyjafjallajokull"
    for number, shape in enumerate(sorted(set(shapes(marker)))):
        (tmp_path / f"shape{number}").write_bytes(b"before " + shape + b" after")
    (tmp_path / "packed.gz").write_bytes(b"head" + gzip.compress(b"many words and " + marker.encode()))
    (tmp_path / "packed.z").write_bytes(b"head" + zlib.compress(b"many words and " + marker.encode()))
    (tmp_path / "clean").write_bytes(b"nothing here")
    hits = {line.partition(" in ")[2] for line in found_in(tmp_path, (marker,))}
    assert hits == {path.name for path in searched(tmp_path)} - {"clean"}
    for shift in range(3):
        inside = base64.b64encode(b"x" * shift + marker.encode() + b"tail")
        (tmp_path / "based").write_bytes(inside)
        assert f"{marker} in based" in found_in(tmp_path, (marker,))
