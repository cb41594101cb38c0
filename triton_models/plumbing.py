"""From Triton's requests to texts and back: what the Python models share. Runs inside Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton_python_backend_utils as pb_utils

from triton_models.texts import BadText, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Outputs = dict[str, np.ndarray[Any, Any]]


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
