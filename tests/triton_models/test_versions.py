"""New heads in a running Triton: taken over without a gap, gone back from, refused when they are broken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.triton.client import UnderstandClient
from portico.triton.understand_cache import ServedHead, UnderstandCache
from tests.support import RunningStack
from tests.triton_models.test_build import OWN


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A Triton of this module's own, because its intents change."""
    with RunningStack(tmp_path_factory.mktemp("versions"), only=("triton",)) as running:
        yield running


async def ask(stack: RunningStack, text: str) -> tuple[str, str]:
    client = UnderstandClient(stack.address("triton"), timeout_s=10)
    try:
        (result,) = await client.understand([text])
    finally:
        await client.close()
    return result.intent, result.head_version


class Traffic:
    """Messages one after another on several connections, from the start to the end of a block."""

    def __init__(self, stack: RunningStack) -> None:
        self._address = stack.address("triton")
        self.heads: list[str] = []
        self._answered: asyncio.Queue[str] = asyncio.Queue()
        self._over = False

    async def __aenter__(self) -> Traffic:
        self._tasks = [asyncio.create_task(self._talk()) for _ in range(4)]
        await asyncio.wait_for(self._more(20), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self._more(self._answered.qsize() + 20), 30)
        self._over = True
        await asyncio.gather(*self._tasks)  # one lost message raises here

    async def _more(self, count: int) -> None:
        for _ in range(count):
            await self._answered.get()

    async def _talk(self) -> None:
        client = UnderstandClient(self._address, timeout_s=5)
        while not self._over:
            (result,) = await client.understand(["what time is it"])
            assert result.intent == "time"
            self.heads.append(result.head_version)
            self._answered.put_nowait(result.head_version)
            await asyncio.sleep(0.01)
        await client.close()


async def test_a_new_head_is_taken_over_under_load_and_gone_back_from(served: RunningStack) -> None:
    _, first = await ask(served, "hello")
    actions = served.home.models / "understand" / "intents.json"
    client = UnderstandClient(served.address("triton"), timeout_s=10)
    memory = UnderstandCache(client, ServedHead(actions))  # as the worker has it, all the while
    assert await remembered(memory, "an espresso, please") != "coffee"
    (served.home.intents / "coffee.yaml").write_text(OWN)

    async with Traffic(served) as traffic:
        done = await asyncio.to_thread(served.run, "models", "train-intents", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["serving"]
    assert "Triton takes the version over" in done.stderr
    assert set(traffic.heads) == {first, told["head_version"]}
    assert await ask(served, "an espresso, please") == ("coffee", told["head_version"])
    assert await remembered(memory, "an espresso, please") == "coffee"

    async with Traffic(served) as traffic:
        done = await asyncio.to_thread(served.run, "models", "rollback")
    assert done.returncode == 0, done.stderr
    assert f"(head {first}) answers now" in done.stdout
    assert set(traffic.heads) == {first, told["head_version"]}
    assert (await ask(served, "an espresso, please"))[0] != "coffee"
    assert await remembered(memory, "an espresso, please") != "coffee"
    await client.close()


async def remembered(memory: UnderstandCache, text: str) -> str:
    """The intent, asked twice: the second answer comes from memory."""
    hits = memory.counts.hits
    (first,), (second,) = await memory.understand([text]), await memory.understand([text])
    assert memory.counts.hits > hits
    assert first is second
    return second.intent


async def test_a_version_that_cannot_be_loaded_leaves_the_one_before_serving(served: RunningStack) -> None:
    (served.home.intents / "coffee.yaml").write_text(OWN.replace("kettle", "teapot"))
    assert served.run("models", "train-intents").returncode == 0
    (served.home.intents / "coffee.yaml").unlink()
    assert served.run("models", "train-intents").returncode == 0
    before = await ask(served, "hello")
    manifest = served.home.models / "manifest.json"
    content = json.loads(manifest.read_text())
    spoil(served.home.models, content)
    manifest.write_text(json.dumps(content))

    done = served.run("models", "rollback")

    assert done.returncode == 1
    assert "Triton could not load understand" in done.stderr
    assert f"version {content['version']} is still served" in done.stderr
    assert await ask(served, "hello") == before
    assert json.loads(manifest.read_text())["version"] == content["version"]


def spoil(models: Path, manifest: dict[str, object]) -> None:
    """A head that has the checksum that is recorded for it, and is none."""
    from triton_models.store import checksum

    history = manifest["history"]
    assert isinstance(history, list)
    name = f"understand/{history[-1]}/head.npz"
    (models / name).unlink()
    (models / name).write_bytes(b"no head")
    files = manifest["files"]
    assert isinstance(files, dict)
    files[name]["sha256"] = checksum(models / name)


def test_training_while_all_is_stopped_is_ready_for_the_next_start(tmp_path: Path) -> None:
    stopped = RunningStack(tmp_path)

    done = stopped.run("models", "train-intents", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) | {"head_version": ""} == {
        "version": 1,
        "head_version": "",
        "serving": False,
    }


def test_there_is_nothing_to_go_back_to_before_the_first_training(tmp_path: Path) -> None:
    done = RunningStack(tmp_path).run("models", "rollback")

    assert done.returncode == 1
    assert "no models are built yet" in done.stderr
