"""From Triton's requests to texts and back: what the Python models share. Runs inside Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

from triton_models.texts import BadText, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Outputs = dict[str, np.ndarray[Any, Any]]


SHARED_MEMORY = "/dev/shm/"


def hide_shared_memory() -> None:
    """Takes the name from the memory shared with the server; call it when a model is loaded.

    Requests pass through it, and every user of the machine may read it (mode 0644, whatever the umask); after
    a SIGKILL it would stay behind. Both ends have it open by now, and need its name no more.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        _, found, name = line.partition(SHARED_MEMORY)
        if found and not name.endswith(" (deleted)"):
            Path(SHARED_MEMORY, name).unlink(missing_ok=True)


def threads(args: dict[str, str], usual: int) -> int:
    """How many threads a run may use: the parameter `threads` of the model's configuration, or as usual."""
    parameters = json.loads(args["model_config"]).get("parameters", {})
    return int(parameters.get("threads", {}).get("string_value", usual))


def answer(requests: list[Any], compute: Callable[[list[str]], Outputs]) -> list[Any]:
    """A response for each request, all texts computed together; one that cannot be read fails alone."""
    read = [_texts(request) for request in requests]
    texts = [text for part in read if not isinstance(part, BadText) for text in part]
    outputs = compute(texts) if texts else {}
    responses, start = [], 0
    for part in read:
        if isinstance(part, BadText):
            responses.append(pb_utils.InferenceResponse(error=_refusal(part)))
            continue
        rows = slice(start, start + len(part))
        start = rows.stop
        tensors = [pb_utils.Tensor(name, values[rows]) for name, values in outputs.items()]
        responses.append(pb_utils.InferenceResponse(tensors))
    return responses


def _texts(request: Any) -> list[str] | BadText:
    try:
        return read_texts(pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy())
    except BadText as error:
        return error


def _refusal(error: BadText) -> Any:
    return pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
