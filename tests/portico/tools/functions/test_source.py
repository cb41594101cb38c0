"""Functions that come, change and go while the worker runs, and files that are none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli.tools.local import GivenSecrets, LocalFiles
from portico.contracts.messages import Actor, ToolInvocation
from portico.contracts.steps import ToolCall
from portico.tool import ToolFailed, ToolSpec
from portico.tools.catalog import Catalog, RunningTool
from portico.tools.functions.environments import Environments, Installer
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource, ToolChanged
from tests.portico.tools.functions.watched import GOOD, HELLO, LIVE_WITHIN_S, Watched, _keep, watched, write


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "wrong.py:1: SyntaxError"),
        ("x = 1\nraise KeyError('y')\n@tool()\ndef f(): ...\n", "wrong.py:2: KeyError"),
        ("import nothing_there\n@tool()\ndef f(): ...\n", "wrong.py:1: ModuleNotFoundError"),
        ("import os\nos._exit(3)\n@tool()\ndef f(): ...\n", "wrong.py: loading it ends its process (3)"),
        ("import os\nos.kill(os.getpid(), 11)\n@tool()\ndef f(): ...\n", "loading it ends its process (-11)"),
        (
            HELLO.format(name="f", word="x").replace("() ->", "(place) ->"),
            "wrong.py:4: TypeError: f: place needs a type",
        ),
        (
            "# /// script\n# dependencies = 3\n# ///\n" + HELLO.format(name="f", word="x"),
            "wrong.py:1: dependencies is",
        ),
        (
            "# /// script\n# dependencies = [\n# ///\n" + HELLO.format(name="f", word="x"),
            "wrong.py:1: the script metadata",
        ),
        (
            "# /// script\n# dependencies = ['-r /etc/x']\n# ///\n" + HELLO.format(name="f", word="x"),
            "not an option",
        ),
        ("# /// script\n# requires-python = '>=3.99'\n# ///\n" + GOOD, "it wants Python >=3.99, this is 3."),
        ("# /// script\n# requires-python = 'new'\n# ///\n" + GOOD, "not a version specifier"),
        ("\x00", "wrong.py"),
        ("x" * (2 << 20), "larger than"),
        ("(" * 5000, "wrong.py"),
    ],
)
async def test_a_broken_file_is_reported_with_its_line_and_takes_nothing_down(
    tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, "good.py", HELLO.format(name="good", word="hello"))
    write(tmp_path, "wrong.py", text)
    async with watched(tmp_path) as tools:
        (problem,) = await tools.until(tools.catalog.problems)
        assert words in problem
        assert problem.startswith(str(tmp_path))
        assert [spec.name for spec in tools.catalog.specs()] == ["good"]


async def test_bytes_that_are_no_text_are_reported(tmp_path: Path) -> None:
    write(tmp_path, "wrong.py", "").write_bytes(b"\xff\xfe\x00@tool")
    async with watched(tmp_path) as tools:
        assert "not UTF-8" in tools.catalog.problems()[0]


async def test_a_file_that_hangs_while_it_is_loaded_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.tools.functions.source.LOAD_S", 1.0)
    monkeypatch.setattr("portico.tools.functions.source.START_S", 0.1)
    write(tmp_path, "hangs.py", "import time\ntime.sleep(60)\n" + HELLO.format(name="hangs", word="x"))
    async with watched(tmp_path) as tools:
        write(tmp_path, "good.py", HELLO.format(name="good", word="hello"))
        await tools.until(lambda: tools.catalog.spec("good"), within_s=LIVE_WITHIN_S)
        (problem,) = await tools.until(tools.catalog.problems)
        assert problem.endswith("hangs.py: it is not loaded after 1 s")


async def test_the_second_of_two_files_with_one_name_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "a.py", HELLO.format(name="same", word="first"))
    write(tmp_path, "b.py", HELLO.format(name="same", word="second"))
    async with watched(tmp_path) as tools:
        spec = tools.catalog.spec("same")
        assert spec is not None
        assert await tools.run(spec) == "first"
        (problem,) = tools.catalog.problems()
        assert "there is a tool 'same' already" in problem
        assert "b.py" in problem.partition(":")[0]


async def test_a_shipped_name_and_the_name_of_a_step_cannot_be_taken(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "clock.py").write_text(HELLO.format(name="clock", word="shipped"))
    write(tmp_path, "clock.py", HELLO.format(name="clock", word="mine"))
    write(tmp_path, "deliver.py", HELLO.format(name="deliver", word="mine"))
    async with watched(tmp_path, FunctionsFolder(shipped, shipped=True)) as tools:
        spec = tools.catalog.spec("clock")
        assert spec is not None
        assert await tools.run(spec) == "shipped"
        assert tools.catalog.spec("deliver") is None
        assert len(tools.catalog.problems()) == 2


async def test_a_new_file_is_live_within_two_seconds_and_gone_when_it_is_taken_away(tmp_path: Path) -> None:
    async with watched(tmp_path) as tools:
        assert tools.catalog.specs() == ()
        path = write(tmp_path, "hello.py", HELLO.format(name="hello", word="hello"))
        spec = await tools.until(lambda: tools.catalog.spec("hello"), within_s=LIVE_WITHIN_S)
        assert (spec.description, spec.file) == ("Says hello.", str(path))
        assert await tools.run(spec) == "hello"
        path.unlink()
        await tools.until(lambda: tools.catalog.spec("hello") is None, within_s=LIVE_WITHIN_S)
        with pytest.raises(ToolFailed, match="not there any more"):
            await tools.run(spec)


async def test_a_changed_file_is_another_version_in_another_process(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", HELLO.format(name="hello", word="one"))
    async with watched(tmp_path) as tools:
        before = tools.catalog.spec("hello")
        assert before is not None
        assert await tools.run(before) == "one"
        warm = tools.pool.pids
        write(tmp_path, "hello.py", HELLO.format(name="hello", word="two"))
        after = await tools.until(lambda: _other(tools, before), within_s=LIVE_WITHIN_S)
        assert await tools.run(after) == "two"
        assert not warm & tools.pool.pids
        with pytest.raises(ToolChanged):
            await tools.source.execute(after, _call(before), RunningTool(lambda *_: None, _keep))


async def test_what_a_file_imports_beside_itself_is_part_of_its_version(tmp_path: Path) -> None:
    write(tmp_path, "_words.py", "WORD = 'one'\n")
    text = "import _words\n" + HELLO.format(name="hello", word="x").replace('"x"', "_words.WORD")
    write(tmp_path, "hello.py", text)
    async with watched(tmp_path) as tools:
        before = tools.catalog.spec("hello")
        assert before is not None
        assert await tools.run(before) == "one"
        write(tmp_path, "_words.py", "WORD = 'two and more'\n")
        after = await tools.until(lambda: _other(tools, before), within_s=LIVE_WITHIN_S)
        assert await tools.run(after) == "two and more"


async def test_a_file_that_is_mended_is_a_tool_again(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", "def broken(:\n")
    async with watched(tmp_path) as tools:
        assert tools.catalog.problems()
        write(tmp_path, "hello.py", HELLO.format(name="hello", word="mended"))
        spec = await tools.until(lambda: tools.catalog.spec("hello"), within_s=LIVE_WITHIN_S)
        assert tools.catalog.problems() == ()
        assert await tools.run(spec) == "mended"


async def test_descriptions_are_remembered_and_checked_against_the_files(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", HELLO.format(name="hello", word="one"))
    remembered = tmp_path / "functions.json"

    async def described() -> tuple[ToolSpec | None, float]:
        services = Services(workspaces=LocalFiles(), secrets=GivenSecrets({}))
        source = FunctionSource(
            (FunctionsFolder(tmp_path / "functions"),),
            services,
            Pool(),
            environments=lambda ready: Environments(tmp_path, lambda: Installer(None, {}), ready=ready),
            remembered=remembered,
        )
        begun = time.monotonic()
        await source.start()
        took = time.monotonic() - begun
        await source.close()
        return Catalog((source,)).spec("hello"), took

    first, slow = await described()
    again, quick = await described()
    assert first == again
    assert quick < slow / 2
    write(tmp_path, "hello.py", HELLO.format(name="hello", word="two"))
    changed, _ = await described()
    for damaged in ("", "[]", '{"a": 1}', '{"a": {}}'):
        remembered.write_text(damaged)
        assert (await described())[0] == changed
    assert changed is not None and first is not None
    assert changed.content_hash != first.content_hash


async def test_what_is_said_before_a_long_silence_is_told_and_a_flood_is_not(tmp_path: Path) -> None:
    said: list[str] = []
    text = HELLO.format(name="says", word="x").replace("()", "(context: ToolContext, until: str)")
    body = """import time; from pathlib import Path
    for word in ("one", "two", "three"):
        context.progress(word)
    while not Path(until).exists():
        time.sleep(0.01)
    for number in range(10_000):
        context.progress(str(number))
    return"""
    text = text.replace("import tool", "import ToolContext, tool").replace("return", body)
    write(tmp_path, "says.py", text)
    async with watched(tmp_path) as tools:
        spec = tools.catalog.spec("says")
        assert spec is not None, tools.catalog.problems()
        until = tmp_path / "until"
        running = asyncio.create_task(
            tools.run(spec, report=lambda word, fraction: said.append(word), until=str(until))
        )
        await tools.until(lambda: said == ["one", "two", "three"])
        assert not running.done()
        until.touch()
        assert await running == "x"
        assert 10 < len(said) < 100


async def test_idle_processes_end(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", HELLO.format(name="hello", word="one"))
    async with watched(tmp_path) as tools:
        spec = tools.catalog.spec("hello")
        assert spec is not None
        await tools.run(spec)
        (pid,) = tools.pool.pids
        await tools.until(lambda: not tools.pool.pids)
        await tools.until(lambda: not Path(f"/proc/{pid}/cmdline").exists())


async def test_of_an_idle_process_that_was_killed_nothing_stays(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", HELLO.format(name="hello", word="one"))
    async with watched(tmp_path) as tools:
        tools.pool._idle_s = 60
        spec = tools.catalog.spec("hello")
        assert spec is not None
        await tools.run(spec)
        (killed,) = tools.pool.pids
        ((_, process),) = next(iter(tools.pool._idle.values()))
        os.kill(killed, signal.SIGKILL)
        await tools.until(lambda: not process.alive)
        assert await tools.run(spec) == "one"
        assert killed not in tools.pool.pids
        assert process._writer.is_closing()
        assert not process._scratch.exists()


def test_processes_end_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sleeps.py",
        HELLO.format(name="sleeps", word="x").replace("return", "import time; time.sleep(60); return"),
    )
    worker = subprocess.Popen(
        (sys.executable, "-m", "entrypoints.cli.main", "tools", "run", "sleeps", "--local"),
        env={**os.environ, "PORTICO_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    child = _until(lambda: _child_in(worker.pid, "call"))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    _until(lambda: not Path(f"/proc/{child}/cmdline").exists())


def _other(tools: Watched, than: ToolSpec) -> ToolSpec | None:
    spec = tools.catalog.spec(than.name)
    return spec if spec is not None and spec.content_hash != than.content_hash else None


def _call(spec: ToolSpec) -> ToolCall:
    return ToolCall(
        invocation_id="i1",
        invocation=ToolInvocation(tool_name=spec.name),
        decision_id="d1",
        actor=Actor(id="p1"),
        content_hash=spec.content_hash,
    )


def _child_in(parent: int, folder: str) -> int | None:
    """A process of functions below `parent` that runs a call: it has made the call's folder."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            home = Path(os.readlink(f"/proc/{pid}/cwd"))
        except OSError:
            continue
        if int(stat[1]) == parent and list(home.parent.glob(f"{folder}*")):
            return int(pid)
    return None


def _until(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value
