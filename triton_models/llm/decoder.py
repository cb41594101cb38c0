"""The graph and its cache: reads prompts and makes the next token of several answers in one run.

Every answer has a row of the cache, which past and present share: the graph's `GroupQueryAttention` writes each
token's keys and values in place and is told by the attention mask how long each row is. So answers of any length
run together, and one that begins does not wait for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from triton_models.llm.folder import ModelConfig, NotAModel, read_config

Array = np.ndarray[Any, np.dtype[Any]]

LOGITS_BYTES = 64 * 1024 * 1024
"""Of one run over a piece of a prompt; the graph gives logits for each of its tokens."""
LONGEST_PIECE = 256
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
DEVICES = {"CUDAExecutionProvider": "cuda", "DmlExecutionProvider": "dml", "ROCMExecutionProvider": "cuda"}


@dataclass(frozen=True)
class BatchRow:
    """One row in a run: its next token, and how many tokens of it the cache holds already."""

    token: int
    filled: int


class Decoder:
    """One loaded model. Not for several threads."""

    def __init__(self, folder: Path, *, context: int, rows: int, threads: int) -> None:
        self.config = read_config(folder)
        self.context = min(context or self.config.context, self.config.context)
        self.rows = rows
        self.piece = max(16, min(LONGEST_PIECE, LOGITS_BYTES // (4 * self.config.vocabulary)))
        self._session = _session(folder, self.config, threads)
        self._device = DEVICES.get(self._session.get_providers()[0], "cpu")
        types = {each.name: each.type for each in self._session.get_inputs()}
        self._positions = self.config.names.positions in types
        self._check(types)
        self._cache = self._make_cache(types)
        self._bindings: dict[tuple[int, int], Any] = {}

    def read(self, row: int, tokens: Sequence[int], *, filled: int) -> Array:
        """Put a piece of a prompt into a row; the logits [vocabulary] after its last token."""
        ids = np.array([tokens], dtype=np.int64)
        logits = self._run(ids, np.array([filled]), first=row)
        return np.asarray(logits[0, -1], np.float32)

    def step(self, rows: Sequence[BatchRow], *, first: int = 0) -> Array:
        """One token for each of these rows, the first of which is `first`; the logits [rows, vocabulary]."""
        ids = np.array([[row.token] for row in rows], dtype=np.int64)
        logits = self._run(ids, np.array([row.filled for row in rows]), first=first)
        return np.asarray(logits[:, -1], np.float32)

    def _run(self, ids: Array, filled: Array, *, first: int) -> Array:
        names = self.config.names
        rows, length = ids.shape
        totals = filled + length
        mask = (np.arange(int(totals.max())) < totals[:, None]).astype(np.int64)
        binding = self._binding(first, rows)
        binding.bind_cpu_input(names.ids, ids)
        binding.bind_cpu_input(names.mask, mask)
        if self._positions:
            binding.bind_cpu_input(names.positions, (filled[:, None] + np.arange(length)).astype(np.int64))
        binding.bind_output(names.logits, "cpu")
        self._session.run_with_iobinding(binding)
        logits: Array = binding.get_outputs()[-1].numpy()
        return logits

    def _binding(self, first: int, rows: int) -> Any:
        """The cache's rows, bound as past and present: by address, so that no device has to copy."""
        key = (first, rows)
        if key not in self._bindings:
            binding = self._session.io_binding()
            for (past, present), cache in zip(
                self.config.names.cache(self.config.layers), self._cache, strict=True
            ):
                kind = cache.kind
                shape = (rows, self.config.kv_heads, self.context, self.config.head_size)
                address = cache.address + first * cache.row_bytes
                binding.bind_input(past, self._device, 0, kind, shape, address)
                binding.bind_output(present, self._device, 0, kind, shape, address)
            self._bindings[key] = binding
        return self._bindings[key]

    def _make_cache(self, types: dict[str, str]) -> list[_Cache]:
        shape = (self.rows, self.config.kv_heads, self.context, self.config.head_size)
        return [
            _Cache(shape, TYPES[types[past]], self._device)
            for past, _ in self.config.names.cache(self.config.layers)
        ]

    def _check(self, types: dict[str, str]) -> None:
        """Raises `NotAModel` where graph and configuration differ; a wrong name would end the process later."""
        names, outputs = self.config.names, {each.name for each in self._session.get_outputs()}
        cache = names.cache(self.config.layers)
        known = {names.ids, names.mask, names.positions, *(past for past, _ in cache)}
        missing = ({names.ids, names.mask, *(past for past, _ in cache)} - set(types)) | (
            {names.logits, *(present for _, present in cache)} - outputs
        )
        if missing:
            raise NotAModel(f"the graph has no {sorted(missing)[0]}, which the configuration names")
        if strange := sorted(set(types) - known):
            raise NotAModel(f"the graph wants {strange[0]}, which is no input of a text decoder")
        for past, _ in cache:
            if types[past] not in TYPES:
                raise NotAModel(f"{past} is {types[past]}; the cache can be float32 or float16")


class _Cache:
    """Keys or values of one layer, [rows, heads, context, head size], at one address for good."""

    def __init__(self, shape: tuple[int, ...], kind: Any, device: str) -> None:
        self.kind = kind
        self.row_bytes = int(np.prod(shape[1:])) * np.dtype(kind).itemsize
        if device == "cpu":
            self._held: Any = np.zeros(shape, kind)  # memory is taken page by page, as the rows fill
            self.address = int(self._held.ctypes.data)
        else:
            self._held = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, device, 0)
            self.address = int(self._held.data_ptr())


def _session(folder: Path, config: ModelConfig, threads: int) -> Any:
    available = set(ort.get_available_providers())
    wanted = [each for each in config.providers if each[0] in available]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The threads of a run wait for each other hundreds of times; spinning meanwhile takes the cores from everything
    # else on the machine, and where they are taken already a run takes 2.5 times as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = folder / config.file
    if not path.is_file():
        raise NotAModel(f"{config.file} is missing")
    return ort.InferenceSession(str(path), options, providers=wanted)
