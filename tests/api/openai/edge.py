"""An edge with scripted model servers behind it, for the OpenAI-compatible interface."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai

from portico.storage.engine.database import Database
from tests.api.conftest import EdgeStack
from tests.fakes.openai import FakeOpenAI

SETTINGS = """
[models]
detect = false
[llm.routes.far]
kind = "openai"
base_url = "{far}"
model = "tiny"
locality = "cloud"
[llm.routes.main]
kind = "openai"
base_url = "{main}"
model = "tiny"
concurrency = 2
first_token_timeout_s = 2
input_cost_per_mtok = 1000000
[llm.routes.backup]
kind = "openai"
base_url = "{backup}"
model = "tiny"
[llm.routes.narrow]
kind = "openai"
base_url = "{main}"
model = "tiny"
concurrency = 1
queue = 0
first_token_timeout_s = 30
"""


@dataclass
class Door:
    """The stack, and the model servers behind it."""

    edge: EdgeStack
    main: FakeOpenAI
    backup: FakeOpenAI
    far: FakeOpenAI

    def client(self, key: str = "") -> openai.OpenAI:
        made = openai.OpenAI(
            base_url=f"{self.edge.url}/v1", api_key=key or self.edge.owner_key, max_retries=0, timeout=30
        )
        return made

    def answers(self) -> list[tuple[Any, ...]]:
        async def rows(database: Database) -> list[tuple[Any, ...]]:
            return await database.read(
                lambda connection: [
                    tuple(row)
                    for row in connection.execute(
                        "SELECT route, finish, input_tokens, output_tokens, estimated, model_answers.decision_id, "
                        "effect FROM model_answers JOIN decisions USING (decision_id) ORDER BY model_answers.at"
                    )
                ]
            )

        return self.edge.database(rows)


def until(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.02)


def _port(door: Door) -> int:
    return int(door.edge.running.address("api").rpartition(":")[2])


def _ask_raw(door: Door, body: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", _port(door), timeout=20)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {door.edge.owner_key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection
