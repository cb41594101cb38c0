"""The sentence encoder as it is served: word pieces, one ONNX Runtime session, embeddings of length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Embeddings = np.ndarray[Any, np.dtype[np.float32]]
    Pieces = list[list[int]]

WIDTH = 384
MAX_PIECES = 256
# One run holds at most this many pieces, padding included: its intermediates then stay below 10 MiB, and most of
# them in the processor's cache.
RUN_PIECES = 512


class Encoder:
    """Loads `encoder.onnx` and `tokenizer.json` of a folder. Not to be shared between threads."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_PIECES)
        self._session = onnxruntime.InferenceSession(
            str(folder / "encoder.onnx"), _options(threads), providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """FP32 [len(texts), 384] in the order of the texts."""
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        embeddings = np.empty((len(pieces), WIDTH), dtype=np.float32)
        for indices in groups([len(ids) for ids in pieces]):
            embeddings[indices] = self._run([pieces[index] for index in indices])
        return embeddings

    def _run(self, pieces: Pieces) -> Embeddings:
        shape = (len(pieces), max(len(ids) for ids in pieces))
        ids = np.zeros(shape, dtype=np.int32)
        mask = np.zeros(shape, dtype=np.int32)
        for row, known in enumerate(pieces):
            ids[row, : len(known)] = known
            mask[row, : len(known)] = 1
        output: Embeddings = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
        return output


def groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of texts that are run together: alike in length, so that little of a run is padding."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (
            lengths[index] > 2 * lengths[group[0]] or lengths[index] * (len(group) + 1) > RUN_PIECES
        ):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps the largest run's memory for ever; without it a short text costs the same time.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # A thread that spins for the time between two operators makes two of them a quarter faster; one that spins
    # longer takes the core from whoever else wants it, and is then up to 1.7 × slower itself.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "10")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
