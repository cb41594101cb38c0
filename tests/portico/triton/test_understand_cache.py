"""The memory of what texts mean: right after a new head, bounded, asked once for equal texts, no failure kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from portico.errors import Unavailable
from portico.triton.client import UnderstandClient, UnderstandResult
from portico.triton.understand_cache import (
    ENTRY_BYTES,
    CacheCounts,
    ServedHead,
    UnderstandCache,
    read_counts,
    write_counts,
)
from tests.support import RunningStack


class Scripted:
    """Answers with the head it has, and counts; `gate` holds answers back."""

    def __init__(self, head: str) -> None:
        self.head = head
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    async def understand(self, texts: Sequence[str]) -> list[UnderstandResult]:
        self.asked += texts
        head = self.head
        await self.gate.wait()
        if self.away:
            raise Unavailable("triton", "scripted")
        return [UnderstandResult(f"{text} by {head}", 0.9, head, np.ones(384, np.float32)) for text in texts]


def name_head(path: Path, version: str) -> ServedHead:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(json.dumps({"version": version, "intents": {}}))
    fresh.replace(path)
    return ServedHead(path)


@pytest.fixture
def actions(tmp_path: Path) -> Path:
    return tmp_path / "intents.json"


async def test_an_equal_text_is_not_asked_again(actions: Path) -> None:
    triton = Scripted("a")
    cache = UnderstandCache(triton, name_head(actions, "a"))

    first = await cache.understand(["hello", "bye", "hello"])
    second = await cache.understand(["hello"])

    assert triton.asked == ["hello", "bye"]
    assert [result.intent for result in first] == ["hello by a", "bye by a", "hello by a"]
    assert second[0] is first[0]
    assert cache.counts == CacheCounts(1, 1, 2, 2, 2 * (384 * 4 + ENTRY_BYTES))
    assert cache.counts.hit_rate == 0.5


async def test_a_new_head_is_never_answered_for_by_the_old(actions: Path) -> None:
    triton = Scripted("old")
    cache = UnderstandCache(triton, name_head(actions, "old"))
    await cache.understand(["hello"])

    name_head(actions, "new")  # the files name it before Triton has loaded it
    (between,) = await cache.understand(["hello"])
    triton.head = "new"
    (after,) = await cache.understand(["hello"])
    (again,) = await cache.understand(["hello"])
    name_head(actions, "old")  # rolled back
    triton.head = "old"
    (back,) = await cache.understand(["hello"])

    assert [result.head_version for result in (between, after, again, back)] == ["old", "new", "new", "old"]
    assert triton.asked == ["hello"] * 3


async def test_an_answer_that_was_on_its_way_is_not_kept_for_the_new_head(actions: Path) -> None:
    triton = Scripted("old")
    cache = UnderstandCache(triton, name_head(actions, "old"))
    triton.gate.clear()
    waiting = asyncio.create_task(cache.understand(["hello"]))
    await asyncio.sleep(0)
    name_head(actions, "new")
    triton.gate.set()
    await waiting
    triton.head = "new"

    (result,) = await cache.understand(["hello"])

    assert result.head_version == "new"


async def test_without_built_models_nothing_is_kept(actions: Path) -> None:
    triton = Scripted("a")
    cache = UnderstandCache(triton, ServedHead(actions))

    await cache.understand(["hello"])
    actions.write_text("{")
    await cache.understand(["hello"])

    assert len(triton.asked) == 2
    assert cache.counts.entries == 0


async def test_it_is_bounded_in_number_and_bytes(actions: Path) -> None:
    triton = Scripted("a")
    cache = UnderstandCache(triton, name_head(actions, "a"), entries=3)
    small = UnderstandCache(triton, name_head(actions, "a"), max_bytes=2 * (384 * 4 + ENTRY_BYTES))

    for text in ("1", "2", "3", "1", "4"):
        await cache.understand([text])
        await small.understand([text])
    triton.asked.clear()
    await cache.understand(["1"])
    await cache.understand(["2"])

    assert triton.asked == ["2"]  # of four the one that was asked for longest ago is forgotten
    assert cache.counts.entries == 3
    assert small.counts.entries == 2


async def test_who_waits_is_answered_though_the_first_is_stopped(actions: Path) -> None:
    triton = Scripted("a")
    cache = UnderstandCache(triton, name_head(actions, "a"))
    triton.gate.clear()
    first, second = (asyncio.create_task(cache.understand(["hello"])) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    triton.gate.set()

    assert (await second)[0].intent == "hello by a"
    assert triton.asked == ["hello"]


async def test_a_failure_reaches_all_who_wait_and_is_forgotten(actions: Path) -> None:
    triton = Scripted("a")
    triton.away = True
    cache = UnderstandCache(triton, name_head(actions, "a"))

    failed = await asyncio.gather(*(cache.understand(["hello"]) for _ in range(3)), return_exceptions=True)
    triton.away = False
    (result,) = await cache.understand(["hello"])

    assert [type(failure) for failure in failed] == [Unavailable] * 3
    assert result.intent == "hello by a"


def test_counts_are_read_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    assert read_counts(path) is None

    write_counts(CacheCounts(3, 1, 4, 2, 99), path)
    assert read_counts(path) == CacheCounts(3, 1, 4, 2, 99)

    path.write_text('{"hits": ')
    assert read_counts(path) is None


async def test_it_gives_what_triton_gives(inner_stack: RunningStack) -> None:
    client = UnderstandClient(inner_stack.address("triton"))
    actions = inner_stack.home.models / "understand" / "intents.json"
    cache = UnderstandCache(client, ServedHead(actions))
    texts = ["what time is it in Tokyo", "", "😀 你好 hello", "x" * 100_000]

    first, second = await cache.understand(texts), await cache.understand(texts)
    plain = await client.understand(texts)
    await client.close()

    assert [result.intent for result in first] == [result.intent for result in plain]
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert cache.counts.hits == len(texts)
