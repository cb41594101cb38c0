"""Language models on Triton: loaded when they are first asked, and one streamed answer of one of them.

Inputs and outputs are described in `triton_models/llm/1/model.py`. No retries here; `Unavailable` is
Temporal's to repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from portico.errors import BadInput, Busy, Misconfigured, NotFound, NotTaken, PorticoError, Unavailable
from portico.llm.library.serve import load
from portico.llm.thinking import AnswerOnly
from portico.llm.tool_text import CallsInText
from portico.llm.types import Delta, Messages, ModelCall, OfferedTool
from portico.logs import logger
from portico.settings.connections import triton_address
from portico.settings.home import Home
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings
from portico.triton.admin import TritonAdmin
from portico.triton.client import OPTIONS, PART

READY_S = 2.0
CLOSE_S = 1.0
SILENCE_S = 12.0
"""The model says every two seconds that it lives; Triton says nothing when its process was killed."""

log = logger("llm")


class TritonModels:
    """The one channel to Triton, and the key with which models are loaded. For a process and event loop."""

    def __init__(self, home: Home, settings: Callable[[], Settings]) -> None:
        self._home = home
        self._settings = settings
        self._client: InferenceServerClient | None = None
        self._admin: TritonAdmin | None = None
        self._broken: dict[str, float] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def open(self, model: str) -> InferenceServerClient:
        """A client of a Triton that serves the model; it is loaded where it is not.

        Raises `Unavailable`, or `Misconfigured` with what to do.
        """
        client = self._connected()
        if model in self._broken or not await self._ready(client, model):
            if model not in self._loading:
                self._loading[model] = asyncio.create_task(self._load(model))
                self._loading[model].add_done_callback(partial(self._loaded, model))
            await asyncio.shield(self._loading[model])  # a stop hangs up on the answer, not on Triton at work
        return client

    def distrust(self, model: str) -> None:
        """It stopped responding: its process was killed, or its engine failed. The next answer reloads it."""
        log.warning("llm.model_broken", model=model)
        self._broken[model] = time.time()

    async def close(self) -> None:
        for task in self._loading.values():
            task.cancel()
        for each in (self._client, self._admin):
            if each is not None:
                await each.close()
        self._client = self._admin = None

    def _connected(self) -> InferenceServerClient:
        if self._client is None:
            address, key = triton_address(self._settings(), self._home)
            self._client = InferenceServerClient(address, channel_args=OPTIONS)
            if key.get_secret_value():
                self._admin = TritonAdmin(address, key.get_secret_value())
        return self._client

    async def _ready(self, client: InferenceServerClient, model: str) -> bool:
        try:
            return bool(await client.is_model_ready(model, client_timeout=READY_S))
        except InferenceServerException as error:
            if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                raise Unavailable(PART, str(error.status())) from error
            return False

    def _loaded(self, model: str, task: asyncio.Task[None]) -> None:
        del self._loading[model]
        if not task.cancelled():
            task.exception()  # the requester may be gone

    async def _load(self, model: str) -> None:
        settings = self._settings()
        if self._admin is None:
            raise Misconfigured(f"Triton at {settings.models.triton} serves no model {model}; load it there")
        try:
            broken_at = self._broken.get(model)
            if await load(self._home, settings, self._admin, model, broken_at=broken_at):
                log.info("llm.loaded", model=model)
            self._broken.pop(model, None)
        except (NotFound, BadInput) as error:
            raise Misconfigured(
                f"{error.message}; fetch it with `portico models pull`, then `portico models load {model}`"
            ) from None


class TritonAnswer:
    """One request to one route. `told` is the model's final report: counts and times."""

    def __init__(self, name: str, settings: RouteSettings, models: TritonModels) -> None:
        self._name = name
        self._settings = settings
        self._models = models
        self._stream: Any = None
        self._only_answer = AnswerOnly()
        self._calls: CallsInText | None = None
        self.told: dict[str, Any] = {}

    async def deltas(
        self,
        messages: Messages,
        *,
        tools: Sequence[OfferedTool] = (),
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[Delta, None]:
        """Raises `Unavailable`, `Busy`, `Misconfigured`, or `NotTaken` when the model's context is too short."""
        options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, "stop": list(stop)}
        asked = {"messages": list(messages), "tools": [_tool(tool) for tool in tools], **options}
        self._calls = CallsInText() if tools else None
        await self._open(asked)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.timeout_s
        limit = min(ends_at, loop.time() + self._settings.first_token_timeout_s)
        said = False
        while not self.told:
            text = await self._next()
            if text and not said:
                said, limit = True, ends_at
            if shown := self._shown(text):
                yield Delta(shown)
            if not self.told and loop.time() > limit:
                if not said:
                    raise Unavailable(f"model route {self._name}", "no first token in time")
                self.told = {"finish": "time_limit"}
        yield self._last()

    async def hang_up(self) -> None:
        """Triton tells the model, which lets the answer's place go before its next token."""
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _open(self, asked: dict[str, Any]) -> None:
        model = self._settings.model
        tensor = InferInput("REQUEST", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([json.dumps(asked).encode()], dtype=np.object_))
        try:
            client = await self._models.open(model)
        except PorticoError as error:
            error.message = f"model route {self._name}: {error.message}"
            raise
        self._stream = client.stream_infer(_once({"model_name": model, "inputs": [tensor]}))

    async def _next(self) -> str:
        """The next piece of text, or None every two seconds; `self.told` is set at the end."""
        part = f"model route {self._name}"
        try:
            async with asyncio.timeout(SILENCE_S):
                result, error = await anext(self._stream)
        except TimeoutError:
            self._models.distrust(self._settings.model)
            raise Unavailable(part, "the model fell silent in the middle of its answer") from None
        except grpc.aio.AioRpcError as broken:
            raise Unavailable(part, f"Triton broke off its answer ({broken.code().name})") from None
        except StopAsyncIteration:
            raise Unavailable(part, "Triton ended its answer early") from None
        if error is not None:
            self._models.distrust(self._settings.model)
            raise Unavailable(part, "Triton could not run the model; its log says why")
        end = result.as_numpy("END")
        if end is None:
            text: bytes = result.as_numpy("TEXT")[0]
            return text.decode()
        self.told = json.loads(end[0])
        await self._let_end()
        self._refuse(part)
        log.info("llm.answered", route=self._name, **self.told)
        return ""

    async def _let_end(self) -> None:
        """Triton closes the stream; hanging up right then would leave it with a request that never ends."""
        with contextlib.suppress(TimeoutError, StopAsyncIteration, grpc.aio.AioRpcError):
            async with asyncio.timeout(CLOSE_S):
                await anext(self._stream)
        self._stream = None

    def _refuse(self, part: str) -> None:
        refused, why = self.told.get("refused"), str(self.told.get("why", ""))
        if refused == "bad_request":
            raise NotTaken(f"{part}: {why}")
        if refused == "busy":
            raise Busy(part, why)
        if refused:
            self._models.distrust(self._settings.model)
            raise Unavailable(part, why)

    def _shown(self, text: str) -> str:
        answer = self._only_answer.feed(text)
        return self._calls.feed(answer) if self._calls else answer

    def _last(self) -> Delta:
        rest = self._only_answer.rest()
        calls: tuple[ModelCall, ...] = ()
        if self._calls:
            rest = self._calls.feed(rest) + self._calls.rest()
            calls = self._calls.calls()
        return Delta(
            rest,
            input_tokens=self.told.get("input_tokens"),
            output_tokens=self.told.get("output_tokens"),
            finish="tool_calls" if calls else str(self.told.get("finish", "")),
            calls=calls,
        )


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


def _tool(tool: OfferedTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}
