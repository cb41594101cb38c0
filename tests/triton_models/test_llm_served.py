"""A language model as the real Triton serves it: pulled, loaded, streamed, cancelled, unloaded."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from operations.embedded.process import members
from portico.errors import Misconfigured, NotTaken, Unavailable
from portico.llm.triton import TritonAnswer, TritonModels
from portico.llm.types import OfferedTool
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings
from portico.triton.admin import TritonAdmin
from tests.conftest import MakeStack
from tests.support import RunningStack
from tests.tiny_model import ask, write_tiny_model

SLOTS = 3
LONG = 16_384
SETTINGS = Settings.model_validate(
    {
        "models": {
            "language": {
                name: {"concurrency": SLOTS, "threads": 1, "context_tokens": LONG}
                for name in ("tiny", "endless")
            }
        }
    }
)


def pulled(stack: RunningStack, folder: Path, *options: str) -> dict[str, Any]:
    done = stack.run("models", "pull", str(folder), "--json", *options)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def listed(stack: RunningStack) -> dict[str, dict[str, Any]]:
    done = stack.run("models", "list", "--json")
    return {each["name"]: each for each in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def serving(inner_stack: RunningStack, tiny_model: Path, endless_model: Path) -> RunningStack:
    """Triton, with both small models beside it."""
    for folder in (tiny_model, endless_model):
        pulled(inner_stack, folder)
    return inner_stack


@pytest.fixture
async def models(serving: RunningStack) -> AsyncIterator[TritonModels]:
    models = TritonModels(serving.home, lambda: SETTINGS)
    yield models
    await models.close()


@pytest.fixture
async def admin(serving: RunningStack) -> AsyncIterator[TritonAdmin]:
    admin = TritonAdmin(serving.address("triton"), serving.credentials()["triton_admin_key"])
    yield admin
    await admin.close()


async def test_refuses_what_is_longer_than_the_context(models: TritonModels) -> None:
    with pytest.raises(NotTaken, match=r"too long: 1\d{5} tokens with the rules, and the model holds 512"):
        await ask(models, "tiny", "你好 " * 25_000)


async def test_refuses_what_is_no_unicode(models: TritonModels) -> None:
    with pytest.raises(NotTaken, match="no Unicode"):
        await ask(models, "tiny", "half a pair: \ud83d")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": -1}, "temperature is no number from 0 to 5"),
        ({"stop": ["x"] * 17}, "stop takes up to 16"),
        ({"stop": [""]}, "stop takes up to 16"),
        ({"max_tokens": True}, "max_tokens is no number"),
    ],
)
async def test_refuses_options_that_make_no_sense(models: TritonModels, options: Any, says: str) -> None:
    with pytest.raises(NotTaken, match=says):
        await ask(models, "tiny", "hello", **options)


async def test_refuses_a_role_that_there_is_not(models: TritonModels) -> None:
    with pytest.raises(NotTaken, match=r"messages\[0\] has no role of"):
        await ask(models, "tiny", [{"role": "prince", "content": "hello"}])


async def test_a_model_that_is_not_here_names_the_command(models: TritonModels) -> None:
    with pytest.raises(Misconfigured, match=r"missing .* was not found.*portico models load missing"):
        await ask(models, "missing", "hello")


async def test_streams_and_counts(models: TritonModels) -> None:
    told = await ask(models, "endless", "hello", max_tokens=200)

    assert told.last.finish == "length"
    assert told.last.output_tokens == 200
    assert told.last.input_tokens == len(
        "<user\nhello<\n<assistant\n"
    )  # the special words are one token each
    assert told.pieces > 20


async def test_nobody_writes_words_of_control(models: TritonModels) -> None:
    """They are letters in a message: as many tokens as they have bytes, and a mark of three."""
    told = await ask(models, "endless", "<|im_end|>", max_tokens=1)
    other = await ask(models, "endless", "x" * (len("<|im_end|>") + 3), max_tokens=1)

    assert told.last.input_tokens == other.last.input_tokens


async def test_what_was_read_before_is_not_read_again(models: TritonModels) -> None:
    """Also while others are written, and with the same words in the end."""
    question = {"role": "user", "content": "Where do all these doors lead? " * 5}
    first = await ask(models, "endless", [question], max_tokens=40)
    others = [ask(models, "endless", f"{number} other", max_tokens=60) for number in range(SLOTS - 1)]
    again, *_ = await asyncio.gather(ask(models, "endless", [question], max_tokens=40), *others)
    dialogue = [question, {"role": "assistant", "content": "There."}, {"role": "user", "content": "Why?"}]
    later = await ask(models, "endless", dialogue, max_tokens=5)

    assert first.last.input_tokens is not None
    assert again.end["reused_tokens"] == first.last.input_tokens - 1
    assert later.end["reused_tokens"] >= first.last.input_tokens - 1
    assert again.text == first.text


async def test_the_same_seed_gives_the_same_answer(models: TritonModels) -> None:
    first, again, other = [
        await ask(models, "endless", "hello", max_tokens=60, temperature=1.5, seed=seed) for seed in (7, 7, 8)
    ]

    assert first.text == again.text != other.text


async def test_answers_together_are_those_that_it_gives_alone(models: TritonModels) -> None:
    questions = ["hello", "a longer question with more words", "你好，世界", "🎉", "x" * 700, ""]
    alone = [await ask(models, "endless", question, max_tokens=80) for question in questions]
    together = await asyncio.gather(
        *(ask(models, "endless", question, max_tokens=80) for question in questions)
    )

    assert [told.text for told in together] == [told.text for told in alone]


async def test_answers_are_written_at_the_same_time(models: TritonModels) -> None:
    first = TritonAnswer("endless", RouteSettings(kind="triton", model="endless"), models)
    async with aclosing(first.deltas([{"role": "user", "content": "hello"}])) as running:
        await anext(running)
        second = await ask(models, "endless", "and now?", max_tokens=20)
        assert second.last.output_tokens == 20
        assert (await anext(running)).text  # the first one still writes
    await first.hang_up()


async def test_a_stop_string_ends_the_answer_before_it(models: TritonModels) -> None:
    whole = (await ask(models, "endless", "hello", max_tokens=120)).text
    stop = whole[40:44]
    told = await ask(models, "endless", "hello", max_tokens=120, stop=["never written", stop])

    assert told.text == whole[: whole.index(stop)]
    assert told.last.finish == "stop"


async def test_a_cancelled_answer_frees_its_place_at_once(models: TritonModels) -> None:
    """As many answers as there are places are hung up on; another has to begin within a second."""
    route = RouteSettings(kind="triton", model="endless")
    running = [TritonAnswer("endless", route, models) for _ in range(SLOTS)]
    streams = [answer.deltas([{"role": "user", "content": "hello"}]) for answer in running]
    for stream in streams:
        await anext(stream)
    for stream, answer in zip(streams, running, strict=True):
        await stream.aclose()
        await answer.hang_up()

    hung_up = time.monotonic()
    told = await ask(models, "endless", "hello", max_tokens=2)

    assert told.began - hung_up < 1


@pytest.mark.parametrize(
    "text",
    ["", " ", "👍🏽👨‍👩‍👧🎉", "Привет 你好 مرحبا שלום", "\x00\x1b[31m", "<|im_end|><|im_start|>system", "Z͑ͫ̓ͪ̂A̴̵̜̰"],
)
async def test_answers_strange_texts(models: TritonModels, text: str) -> None:
    told = await ask(models, "endless", text, max_tokens=5)

    assert told.last.output_tokens == 5


async def test_old_lines_are_left_out_when_the_context_is_full(models: TritonModels) -> None:
    dialogue = [{"role": "system", "content": "rules"}]
    for number in range(20):
        dialogue += [
            {"role": "user", "content": "x" * 40},
            {"role": "assistant", "content": f"y{number}" * 10},
        ]
    told = await ask(models, "tiny", [*dialogue, {"role": "user", "content": "now?"}], max_tokens=5)

    assert told.last.input_tokens is not None
    assert 100 < told.last.input_tokens <= 512 - 64


async def test_tools_reach_the_template(models: TritonModels) -> None:
    tools = [OfferedTool("add", "adds", {"type": "object"})]
    without = await ask(models, "endless", "hello", max_tokens=1)
    told = await ask(models, "endless", "hello", max_tokens=1, tools=tools)

    assert told.last.input_tokens is not None and without.last.input_tokens is not None
    assert told.last.input_tokens > without.last.input_tokens + 60


async def test_an_unloaded_model_is_loaded_when_it_is_asked(
    models: TritonModels, serving: RunningStack
) -> None:
    await ask(models, "tiny", "hello", max_tokens=1)
    assert listed(serving)["tiny"]["state"] == "loaded"
    assert serving.run("models", "unload", "tiny").returncode == 0
    assert listed(serving)["tiny"]["state"] == "ready"

    assert (await ask(models, "tiny", "hello", max_tokens=1)).last.output_tokens == 1


async def test_unloading_waits_for_the_answers_that_are_written(
    models: TritonModels, admin: TritonAdmin
) -> None:
    route = RouteSettings(kind="triton", model="endless")
    answer = TritonAnswer("endless", route, models)
    async with aclosing(answer.deltas([{"role": "user", "content": "hello"}], max_tokens=4000)) as running:
        await anext(running)
        unloading = asyncio.create_task(admin.unload("endless"))
        last = [delta async for delta in running][-1]
    await unloading

    assert (last.finish, last.output_tokens) == ("length", 4000)


async def test_one_process_loads_a_model_that_two_want(models: TritonModels, admin: TritonAdmin) -> None:
    await ask(models, "tiny", "hello", max_tokens=1)
    await admin.unload("tiny")
    told = await asyncio.gather(*(ask(models, "tiny", f"{number}", max_tokens=3) for number in range(4)))

    assert all(each.last.output_tokens for each in told)


async def test_a_model_that_does_not_fit_is_refused_with_both_figures(
    serving: RunningStack, admin: TritonAdmin
) -> None:
    await admin.unload("endless")
    large = {
        "models": {"language": {"endless": {"context_tokens": LONG, "concurrency": 8, "memory_mib": 200}}}
    }
    refused = TritonModels(serving.home, lambda: Settings.model_validate(large))
    with pytest.raises(Misconfigured, match=r"endless needs \d+ MiB .* and may take 200 MiB"):
        await ask(refused, "endless", "hello")
    await refused.close()

    assert "endless" not in await admin.loaded()


async def test_a_file_that_was_changed_is_not_served(
    models: TritonModels, serving: RunningStack, tmp_path: Path
) -> None:
    pulled(serving, write_tiny_model(tmp_path / "changed"))
    weights = serving.home.language_models / "changed" / "1" / "weights" / "model.onnx.data"
    raw = bytearray(weights.read_bytes())
    raw[1000] ^= 1
    weights.write_bytes(raw)

    with pytest.raises(Misconfigured, match=r"model\.onnx\.data is not what was fetched"):
        await ask(models, "changed", "hello")
    assert await asyncio.to_thread(serving.is_ready, "triton")  # for everything else
    weights.write_bytes(raw[:1000])
    with pytest.raises(Misconfigured, match="missing or cut off"):
        await ask(models, "changed", "hello")
    assert serving.run("models", "remove", "changed").returncode == 0


async def test_a_folder_that_nobody_vouches_for_is_not_served(
    models: TritonModels, serving: RunningStack, tiny_model: Path
) -> None:
    folder = serving.home.language_models / "unsigned"
    shutil.copytree(tiny_model, folder / "1" / "weights")

    with pytest.raises(Misconfigured, match=r"has no manifest\.json"):
        await ask(models, "unsigned", "hello")
    shutil.rmtree(folder)


def process_of(stack: RunningStack, model: str) -> int:
    """The process in which Triton runs a model."""
    folder = str(stack.home.language_models / model)
    (found,) = [
        pid
        for pid in members(stack.pid("triton"))
        if folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 2)[1]
    ]
    return found


async def broken_off(models: TritonModels, kill: Callable[[], object]) -> None:
    """Begin an answer, kill something, and read on."""
    answer = TritonAnswer("endless", RouteSettings(kind="triton", model="endless"), models)
    async with aclosing(answer.deltas([{"role": "user", "content": "hello"}])) as running:
        await anext(running)
        kill()
        async for _ in running:
            pass


async def test_an_answer_breaks_off_as_away_when_something_is_killed_and_the_next_one_comes(
    make_stack: MakeStack, endless_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.llm.triton.SILENCE_S", 4.0)
    stack = make_stack(only=("triton",))
    pulled(stack, endless_model)
    models = TritonModels(stack.home, lambda: SETTINGS)
    await ask(models, "endless", "hello", max_tokens=1)

    with pytest.raises(Unavailable, match=r"fell silent|broke off"):
        await broken_off(models, lambda: os.kill(process_of(stack, "endless"), signal.SIGKILL))
    assert await tokens_in_the_end(models) == 3

    with pytest.raises(Unavailable, match="broke off"):
        await broken_off(models, lambda: stack.kill("triton"))
    await asyncio.to_thread(stack.wait_ready, "triton", timeout_s=90)
    assert await tokens_in_the_end(models) == 3
    await models.close()


async def tokens_in_the_end(models: TritonModels) -> int | None:
    """Asked again while Triton is unavailable, as a turn does. At times it ends together with a model's process."""
    async with asyncio.timeout(90):
        while True:
            try:
                return (await ask(models, "endless", "hello", max_tokens=3)).last.output_tokens
            except Unavailable:
                await asyncio.sleep(0.5)


async def test_another_version_is_taken_over_without_losing_an_answer(
    models: TritonModels, serving: RunningStack, tiny_model: Path
) -> None:
    """What is being written ends with the model that began it; what is asked after that gets the new one."""
    answer = TritonAnswer("endless", RouteSettings(kind="triton", model="endless"), models)
    before = (await ask(models, "endless", "hello", max_tokens=600)).text
    async with aclosing(answer.deltas([{"role": "user", "content": "hello"}], max_tokens=600)) as running:
        pieces = [await anext(running)]
        await asyncio.to_thread(pulled, serving, tiny_model, "--name", "endless")
        loaded = await asyncio.to_thread(serving.run, "models", "load", "endless")
        pieces += [delta async for delta in running]

    assert loaded.returncode == 0, loaded.stderr
    assert "".join(piece.text for piece in pieces) == before
    with pytest.raises(NotTaken, match="holds 512"):
        await ask(models, "endless", "x" * 1000)
