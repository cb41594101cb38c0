"""A person writes, and a language model on Triton answers: from the chat socket to the reply, and to the history."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

from portico.crypto.keyring import open_keyring
from portico.settings.connections import connect_to
from portico.temporal.client import connect as connect_to_temporal
from tests.guarantees.history import story
from tests.support import RunningStack, until

pytestmark = pytest.mark.alone

SETTINGS = """
[llm.routes.mine]
kind = "triton"
model = "tiny"
[models]
detect = false
[models.language.tiny]
context_tokens = 16384
concurrency = 1
threads = 1
"""
QUESTION = "Write me a poem about doors, please"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with RunningStack(tmp_path_factory.mktemp("route"), settings=SETTINGS) as running:
        yield running


@pytest.fixture
def owner(stack: RunningStack) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {stack.home.cli_key.read_text().strip()}"}
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=90, trust_env=False) as client:
        yield client


@contextmanager
def chat(stack: RunningStack, name: str) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {stack.home.cli_key.read_text().strip()}"}
    url = stack.url.replace("http", "ws", 1) + "/v1/chat"
    with connect(url, additional_headers=headers, proxy=None) as socket:
        socket.send(json.dumps({"type": "hello", "after": 0, "conversation": name}))
        yield socket


def heard(socket: ClientConnection, kind: str, *, timeout_s: float = 60) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=max(0.01, end - time.monotonic())))
        if frame["type"] == kind:
            return frame


def states(owner: httpx2.Client) -> dict[str, str]:
    return {model["name"]: model["state"] for model in owner.get("/v1/models/triton").json()}


async def routes_in_history(stack: RunningStack) -> list[str]:
    """Who wrote the answers, as the workflows' histories have it."""
    client = await connect_to_temporal(connect_to(stack.settings, stack.home), open_keyring(stack.home))
    found = []
    async for workflow in client.list_workflows():
        events = await story(client, workflow.id, run_id=workflow.run_id)
        found += [
            event.content[0]["route"]
            for event in events
            if event.kind == "answered" and event.name == "generate"
        ]
    return found


def test_from_pull_to_reply(
    stack: RunningStack, owner: httpx2.Client, tiny_model: Path, endless_model: Path
) -> None:
    body = {"text": QUESTION, "conversation": "poem"}
    assert states(owner)["understand"] == "loaded"

    assert stack.run("models", "unload", "tiny").returncode == 0
    assert stack.run("models", "pull", str(tiny_model)).returncode == 0
    assert states(owner)["tiny"] == "ready"
    told = owner.post("/v1/messages", params={"wait_s": 60}, json=body).json()
    assert told["reply"]["parts"][0]["text"].strip()
    assert states(owner)["tiny"] == "loaded"
    listed = json.loads(stack.run("models", "list", "--json").stdout)
    assert {"name": "tiny", "state": "loaded"}.items() <= listed[1].items()
    assert set(asyncio.run(routes_in_history(stack))) == {"mine"}

    # Another model of the same name takes its place; what it writes has no end, but the person has.
    assert stack.run("models", "pull", str(endless_model), "--name", "tiny").returncode == 0
    assert stack.run("models", "load", "tiny").returncode == 0
    with chat(stack, "long") as socket:
        socket.send(json.dumps({"type": "message", "id": "one", "text": QUESTION}))
        heard(socket, "delta")
        socket.send(json.dumps({"type": "stop"}))
        stopped = time.monotonic()
        heard(socket, "reply", timeout_s=20)
    assert time.monotonic() - stopped < 5
    # Its one place is free again: a small answer of the model comes at once.
    asked = {"model": "mine", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    answer = owner.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 3
    assert answer.json()["model"] == "mine"


def test_a_turn_whose_triton_is_killed_is_written_again(
    stack: RunningStack, owner: httpx2.Client, endless_model: Path
) -> None:
    assert stack.run("models", "pull", str(endless_model), "--name", "tiny").returncode == 0
    with chat(stack, "killed") as socket:
        socket.send(json.dumps({"type": "message", "id": "one", "text": QUESTION}))
        first = heard(socket, "delta")
        until(lambda: heard(socket, "delta")["offset"] > 0, timeout_s=20)
        stack.kill("triton")
        again = heard(socket, "delta")
        while again["offset"]:
            again = heard(socket, "delta")
        socket.send(json.dumps({"type": "stop"}))
        heard(socket, "reply")

    assert again["turn"] == first["turn"]
