"""Model control of a running Triton: load, unload, states; sends the key of its restricted protocols."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from portico.errors import Misconfigured, Unavailable
from portico.triton.client import OPTIONS, PART

HEADER = "triton-grpc-protocol-portico-admin"
LOAD_S = 120.0
"""Loading a language model takes minutes, a sentence encoder a second."""


@dataclass(frozen=True)
class ModelWork:
    """Work of a model since it was loaded. `queue_ns` is summed over requests, `busy_ns` over runs."""

    requests: int
    queue_ns: int
    busy_ns: int


class TritonAdmin:
    """One for each process and event loop. Calls return when Triton has finished."""

    def __init__(self, address: str, key: str) -> None:
        self._client = InferenceServerClient(address, channel_args=OPTIONS)
        self._headers = {HEADER: key}

    async def load(self, name: str, *, timeout_s: float = LOAD_S) -> None:
        """Load a model, or reload a changed one.

        The old version serves until the new one is ready. Raises `Misconfigured` with Triton's reason if
        the model cannot be loaded; the old version then keeps serving.
        """
        try:
            await self._client.load_model(name, headers=self._headers, client_timeout=timeout_s)
        except InferenceServerException as error:
            raise _translated(name, error) from error

    async def unload(self, name: str) -> None:
        try:
            await self._client.unload_model(name, headers=self._headers, client_timeout=LOAD_S)
        except InferenceServerException as error:
            raise _translated(name, error) from error

    async def ready(self, name: str) -> bool:
        """Whether a version of the model is loaded and ready."""
        try:
            return bool(await self._client.is_model_ready(name, client_timeout=2.0))
        except InferenceServerException:
            return False

    async def alive(self) -> bool:
        """Whether Triton is running."""
        try:
            return bool(await self._client.is_server_live(client_timeout=2.0))
        except InferenceServerException:
            return False

    async def loaded(self) -> list[str]:
        """Names of the models that are ready."""
        return [name for name, state in (await self.states()).items() if state == "READY"]

    async def states(self) -> dict[str, str]:
        """READY, LOADING, UNLOADING or UNAVAILABLE for each model in the repository."""
        try:
            index: dict[str, Any] = await self._client.get_model_repository_index(
                headers=self._headers, client_timeout=10.0, as_json=True
            )
        except InferenceServerException as error:
            raise _translated("the list of models", error) from error
        return {str(model["name"]): str(model.get("state", "")) for model in index.get("models", [])}

    async def work(self, name: str) -> ModelWork:
        try:
            response: dict[str, Any] = await self._client.get_inference_statistics(
                name, client_timeout=2.0, as_json=True
            )
        except InferenceServerException as error:
            raise _translated(name, error) from error
        versions = response.get("model_stats", [])
        requests = [version.get("inference_stats", {}) for version in versions]
        runs = [batch for version in versions for batch in version.get("batch_stats", [])]
        return ModelWork(
            sum(int(part.get("success", {}).get("count", 0)) for part in requests),
            sum(int(part.get("queue", {}).get("ns", 0)) for part in requests),
            sum(int(batch.get("compute_infer", {}).get("ns", 0)) for batch in runs),
        )

    async def instances(self, name: str) -> int:
        """Number of instances of the model."""
        config = await self._config(name)
        return sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1

    async def set_instances(self, name: str, count: int) -> None:
        """Lasts until the model is reloaded. Triton keeps serving meanwhile; the rest of the configuration stays."""
        config = await self._config(name)
        config["instance_group"] = [{"kind": "KIND_CPU", "count": count}]
        try:
            await self._client.load_model(
                name, headers=self._headers, config=json.dumps(config), client_timeout=LOAD_S
            )
        except InferenceServerException as error:
            raise _translated(name, error) from error

    async def _config(self, name: str) -> dict[str, Any]:
        try:
            response: dict[str, Any] = await self._client.get_model_config(
                name, client_timeout=2.0, as_json=True
            )
        except InferenceServerException as error:
            raise _translated(name, error) from error
        config: dict[str, Any] = response["config"]
        return config

    async def close(self) -> None:
        await self._client.close()


def _translated(name: str, error: InferenceServerException) -> Misconfigured | Unavailable:
    """Triton has one status for failing models and invalid requests, and others for being unavailable."""
    if error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"):
        return Unavailable(PART, str(error.status()))
    reason = " ".join(str(error.message()).split()).partition(" At: ")[0][:400]  # without the traceback
    return Misconfigured(f"Triton could not load {name}: {reason}")
