"""Triton inference client: embedding and intent in one call, over one persistent gRPC channel.

Calls between our parts ignore proxy variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from portico.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    Embedding = np.ndarray[Any, np.dtype[np.float32]]

PART = "triton"
MAX_BATCH = 64  # `max_batch_size` of the models
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    # Reconnect at once after a restart of Triton: gRPC's own backoff grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Only during calls: servers count pings on idle connections as abuse.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]
OUTPUTS = ("EMBEDDING", "INTENT", "SCORE", "HEAD_VERSION")


@dataclass(frozen=True)
class UnderstandResult:
    """`embedding` is float32 [384] of length 1; `score` the probability of `intent` under that head."""

    intent: str
    score: float
    head_version: str
    embedding: Embedding


class UnderstandClient:
    """One for each process and event loop.

    Raises `Unavailable` if Triton is unavailable, `BadInput` for invalid text.
    """

    def __init__(self, address: str, *, timeout_s: float = 2.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._client: InferenceServerClient | None = None

    async def understand(self, texts: Sequence[str]) -> list[UnderstandResult]:
        """Intent and embedding of each text, in order. One call for up to 64 texts."""
        results: list[UnderstandResult] = []
        for start in range(0, len(texts), MAX_BATCH):
            answer = await self._infer("understand", texts[start : start + MAX_BATCH], OUTPUTS)
            columns = [_column(answer, name) for name in OUTPUTS]
            results += [
                UnderstandResult(intent[0].decode(), float(score[0]), version[0].decode(), embedding)
                for embedding, intent, score, version in zip(*columns, strict=True)
            ]
        return results

    async def embed(self, texts: Sequence[str], *, model: str = "text_encoder") -> list[Embedding]:
        """float32 [384] for each text, from the encoder alone."""
        embeddings: list[Embedding] = []
        for start in range(0, len(texts), MAX_BATCH):
            answer = await self._infer(model, texts[start : start + MAX_BATCH], ("EMBEDDING",))
            embeddings += list(_column(answer, "EMBEDDING"))
        return embeddings

    async def guesses(self, texts: Sequence[str], *, model: str) -> list[list[tuple[str, float]]]:
        """Intent and score of each text by each head of a model under evaluation; `understand` has one."""
        results: list[list[tuple[str, float]]] = []
        for start in range(0, len(texts), MAX_BATCH):
            answer = await self._infer(model, texts[start : start + MAX_BATCH], ("INTENT", "SCORE"))
            for intents, scores in zip(_column(answer, "INTENT"), _column(answer, "SCORE"), strict=True):
                results.append(
                    [(name.decode(), float(score)) for name, score in zip(intents, scores, strict=True)]
                )
        return results

    async def ready(self) -> bool:
        """Whether `understand` is loaded and ready."""
        try:
            ready = await self._connected().is_model_ready("understand", client_timeout=self._timeout_s)
        except InferenceServerException:
            return False
        return bool(ready)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _infer(self, model: str, texts: Sequence[str], outputs: Sequence[str]) -> InferResult:
        tensor = InferInput("TEXT", [len(texts), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[_utf8(text)] for text in texts], dtype=np.object_))
        wanted = [InferRequestedOutput(name) for name in outputs]
        try:
            return await self._connected().infer(
                model, [tensor], outputs=wanted, client_timeout=self._timeout_s
            )
        except InferenceServerException as error:
            raise _translated(error) from error

    def _connected(self) -> InferenceServerClient:
        if self._client is None:
            self._client = InferenceServerClient(self._address, channel_args=OPTIONS)
        return self._client


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput("the text holds invalid Unicode") from None


def _column(answer: InferResult, name: str) -> np.ndarray[Any, Any]:
    column: np.ndarray[Any, Any] | None = answer.as_numpy(name)
    if column is None:  # Triton's Python backend returns empty outputs with numpy 2 in its environment
        raise Unavailable(PART, f"no {name} in its response")
    return column


def _translated(error: InferenceServerException) -> BadInput | Unavailable:
    """Only an invalid argument is the text's fault; failing, loading or restarting models are retried."""
    if error.status() == "StatusCode.INVALID_ARGUMENT":
        return BadInput("the models cannot read this text")
    return Unavailable(PART, str(error.status() or "no response"))
