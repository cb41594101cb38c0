"""What a language model needs, and what the machine and the control groups around us leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.errors import Misconfigured
from portico.llm.library.memory_need import available_bytes, check_memory, need
from portico.settings.models import LanguageModelSettings
from portico.settings.table import MIB

GIB = 1024 * MIB
FACTS = {
    "layers": 24, "kv_heads": 2, "head_size": 64, "vocabulary": 151_936, "context": 32_768,
    "cache_element_bytes": 4, "weights_bytes": 500 * MIB,
}  # fmt: skip


def machine(tmp_path: Path, *, free_mib: int, groups: dict[str, dict[str, str]], own: str) -> dict[str, Path]:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {free_mib * 1024} kB\n")
    (proc / "self" / "cgroup").write_text(f"0::{own}\n")
    for name, files in groups.items():
        (cgroups / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (cgroups / name / file).write_text(content)
    return {"proc": proc, "cgroups": cgroups}


def test_counts_weights_and_the_context_of_every_answer() -> None:
    one = need(FACTS, LanguageModelSettings(context_tokens=4096, concurrency=1))
    four = need(FACTS, LanguageModelSettings(context_tokens=4096, concurrency=4))

    assert one.cache == 2 * 24 * 2 * 64 * 4 * 4096
    assert four.cache == 4 * one.cache
    assert four.weights == one.weights >= FACTS["weights_bytes"]


def test_a_context_that_the_model_does_not_know_takes_nothing() -> None:
    small = FACTS | {"context": 512}

    assert (
        need(small, LanguageModelSettings(context_tokens=4096)).cache
        == need(small, LanguageModelSettings(context_tokens=512)).cache
    )


def test_the_machine_decides_where_no_group_does(tmp_path: Path) -> None:
    where = machine(tmp_path, free_mib=700, groups={"": {}, "a/b": {"memory.max": "max\n"}}, own="/a/b")

    assert available_bytes(**where) == 700 * MIB


@pytest.mark.parametrize("limited", ["a", "a/b"])
def test_the_narrowest_group_decides(tmp_path: Path, limited: str) -> None:
    limits = {
        "memory.max": str(GIB),
        "memory.current": str(900 * MIB),
        "memory.stat": f"anon 5\ninactive_file {100 * MIB}\n",
    }
    where = machine(tmp_path, free_mib=9_000, groups={"a/b": {}, limited: limits}, own="/a/b")

    assert available_bytes(**where) == (1024 - 900 + 100) * MIB


def test_a_model_that_does_not_fit_is_told_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LanguageModelSettings()
    wanted = need(FACTS, settings).mib
    monkeypatch.setattr("portico.llm.library.memory_need.available_bytes", lambda: (wanted - 1) * MIB)

    with pytest.raises(
        Misconfigured, match=rf"tiny needs {wanted} MiB .*, this machine has {wanted - 1} MiB"
    ):
        check_memory("tiny", FACTS, settings)
    monkeypatch.setattr("portico.llm.library.memory_need.available_bytes", lambda: wanted * MIB)
    check_memory("tiny", FACTS, settings)


def test_a_limit_of_its_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.llm.library.memory_need.available_bytes", lambda: 1 << 50)

    with pytest.raises(Misconfigured, match=r"may take 100 MiB; raise models\.language\.tiny\.memory_mib"):
        check_memory("tiny", FACTS, LanguageModelSettings(memory_mib=100))
