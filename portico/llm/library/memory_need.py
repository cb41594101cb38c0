"""What a language model needs of the machine's memory, and what the machine has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from portico.errors import Misconfigured
from portico.settings.models import LanguageModelSettings
from portico.settings.table import MIB

PROCESS_BYTES = 160 * MIB
"""Interpreter, ONNX Runtime and tokenizer; measured with a model of no size."""
LOGITS_BYTES = 64 * MIB
"""Of one run over a piece of a prompt, as the decoder bounds it."""
WEIGHTS_FACTOR = 1.15
"""ONNX Runtime repacks weights for its kernels and then frees the originals."""


@dataclass(frozen=True)
class Need:
    """In bytes."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.working

    @property
    def mib(self) -> int:
        return -(-self.total // MIB)


def need(facts: dict[str, int], settings: LanguageModelSettings) -> Need:
    """Weights, keys and values of every token of every answer at once, and what a run takes."""
    context = min(settings.context_tokens, facts["context"])
    token = 2 * facts["layers"] * facts["kv_heads"] * facts["head_size"] * facts["cache_element_bytes"]
    return Need(
        weights=int(facts["weights_bytes"] * WEIGHTS_FACTOR),
        cache=token * context * settings.concurrency,
        working=PROCESS_BYTES + LOGITS_BYTES + 4 * facts["vocabulary"] * settings.concurrency,
    )


def check_memory(name: str, facts: dict[str, int], settings: LanguageModelSettings) -> None:
    """Raises `Misconfigured` with both figures when it does not fit."""
    wanted = need(facts, settings)
    how = f"weights {wanted.weights // MIB}, context {wanted.cache // MIB}, process {wanted.working // MIB}"
    if settings.memory_mib and wanted.mib > settings.memory_mib:
        raise Misconfigured(
            f"{name} needs {wanted.mib} MiB ({how}) and may take {settings.memory_mib} MiB; raise "
            f"models.language.{name}.memory_mib, or lower its context_tokens or concurrency"
        )
    has = available_bytes() // MIB
    if wanted.mib > has:
        raise Misconfigured(
            f"{name} needs {wanted.mib} MiB ({how}), this machine has {has} MiB; lower "
            f"models.language.{name}.context_tokens or concurrency, or unload another with `portico models unload`"
        )


def available_bytes(*, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """What can still be taken without swapping: of the machine, and of every control group around us."""
    rooms = [_meminfo(proc / "meminfo")]
    for group in _groups(proc / "self" / "cgroup", cgroups):
        limit, used = _number(group / "memory.max"), _number(group / "memory.current")
        if limit is not None and used is not None:
            rooms.append(limit - used + _reclaimable(group / "memory.stat"))
    return max(0, min(rooms))


def _meminfo(path: Path) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise Misconfigured(f"{path} names no MemAvailable")


def _groups(own: Path, root: Path) -> list[Path]:
    """Our control group and those above it."""
    try:
        line = next(line for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return [root]
    group = root / line[3:].strip().lstrip("/")
    return [path for path in (group, *group.parents) if path == root or path.is_relative_to(root)]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max", or no such file
        return None


def _reclaimable(path: Path) -> int:
    """Page cache that is not in use: the kernel frees it on demand."""
    try:
        lines = dict(line.split() for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(lines.get("inactive_file", 0))
