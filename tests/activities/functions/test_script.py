"""Code in real sandboxes, through the official SDK."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.functions.script import Interrupted, script
from operations.setup.binaries import RUNSC
from portico.tool import AskAgain, SandboxAccess, ToolContext, ToolFailed, spec_of
from tests.activities.functions.memory_workspace import MemoryWorkspace
from tests.sandbox.conftest import Service, start_service, stop_service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Desk:
    """One caller: workspace, what it was told, what it was given."""

    def __init__(self, service: Service) -> None:
        self.workspace = MemoryWorkspace()
        self.told: list[str] = []
        self.artifacts: dict[str, tuple[bytes, str]] = {}
        self.context = ToolContext(
            workspace=self.workspace,
            sandbox=SandboxAccess(service.url, service.url, service.key, {"portico": "somebody"}),
            report=lambda text, _: self.told.append(text),
            keep=lambda name, data, media_type: self.artifacts.update({name: (data, media_type)}),
            stop=threading.Event(),
        )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    running = start_service(tmp_path_factory.mktemp("sandbox"))
    yield running
    stop_service(running)


@pytest.fixture
def desk(service: Service) -> Desk:
    return Desk(service)


async def test_tells_result_output_and_progress(desk: Desk) -> None:
    done = await script(desk.context, "print('half way')\n6 * 7")
    assert (done["results"], done["stdout"]) == (["42"], "half way\n")
    assert done["text"] == "half way\n42"
    assert "half way" in desk.told


async def test_an_error_is_an_answer_that_can_be_worked_with(desk: Desk) -> None:
    done = await script(desk.context, "1 / 0")
    assert done["error"]["name"] == "ZeroDivisionError"
    assert "1 / 0" in done["error"]["traceback"]
    assert done["text"] == "ZeroDivisionError: division by zero"


async def test_what_is_drawn_becomes_a_picture(desk: Desk) -> None:
    done = await script(desk.context, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert done["pictures"] == ["picture-1.png"]
    data, media_type = desk.artifacts["picture-1.png"]
    assert data.startswith(b"\x89PNG")
    assert media_type == "image/png"


async def test_files_go_in_and_come_out(desk: Desk) -> None:
    desk.workspace.files |= {"data/numbers.csv": b"a,b\n1,2\n3,4\n", "sums.csv": b"mine"}
    code = "import pandas as pd\npd.read_csv('numbers.csv').sum().to_csv('sums.csv')"
    done = await script(desk.context, code, files=["data/numbers.csv"], keep=["sums.csv"])
    assert done["files"] == ["sums (2).csv"]
    assert b"a,4" in desk.workspace.files["sums (2).csv"]
    assert desk.workspace.files["sums.csv"] == b"mine"
    with pytest.raises(AskAgain, match=r"no file nothing\.txt"):
        await script(desk.context, "1", keep=["nothing.txt"])
    with pytest.raises(ToolFailed, match="no such file"):
        await script(desk.context, "1", files=["gone.csv"])


async def test_keeps_nothing_from_outside_of_what_the_code_may_see(desk: Desk) -> None:
    done = await script(desk.context, "1", keep=["../../etc/passwd"])
    kept = desk.workspace.files[done["files"][0]].decode()
    assert kept.startswith("root:x:0:0:root:/nonexistent")  # the sandbox's own


async def test_runs_a_shell(desk: Desk) -> None:
    done = await script(desk.context, "echo out; echo err >&2; id -u; exit 3", language="bash")
    assert (done["stdout"], done["stderr"], done["exit_code"]) == ("out\n1000\n", "err\n", 3)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("javascript", "console.log([1, 2].map(n => n * 21).at(-1))"),
        ("typescript", "const n: number = 42; console.log(n)"),
    ],
)
async def test_runs_other_languages(desk: Desk, language: str, code: str) -> None:
    done = await script(desk.context, code, language=language)  # type: ignore[arg-type]
    assert done["stdout"].strip() == "42", done


async def test_a_run_begins_afresh_and_cannot_reach_out(desk: Desk) -> None:
    await script(desk.context, "kept = 1; open('left', 'w').close()")
    done = await script(desk.context, "import os\n'kept' in globals() or os.path.exists('left')")
    assert done["results"] == ["False"]
    done = await script(desk.context, "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)")
    assert done["error"] is not None


async def test_what_takes_too_long_is_ended_and_says_how_far_it_was(desk: Desk) -> None:
    with pytest.raises(ToolFailed, match=r"not done after 1 s; it last wrote: begun"):
        await script(desk.context, "print('begun')\nwhile True: pass", time_limit_s=1)
    assert (await script(desk.context, "2"))["results"] == ["2"]


async def test_a_flood_is_cut(desk: Desk) -> None:
    done = await script(desk.context, "print('x' * 3_000_000)\nprint('end')")
    assert len(done["stdout"]) == 20_000
    assert done["stdout"].endswith("end\n")
    assert done["cut"]


async def test_a_run_that_is_stopped_leaves_no_sandbox(desk: Desk) -> None:
    running = asyncio.create_task(script(desk.context, "print('begun')\nwhile True: pass"))
    while "begun" not in desk.told:
        assert not running.done()
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await _sandboxes(desk) == 0


async def _sandboxes(desk: Desk) -> int:
    from e2b_code_interpreter import AsyncSandbox

    access = desk.context.sandbox
    assert access is not None
    listed = AsyncSandbox.list(api_url=access.api_url, sandbox_url=access.sandbox_url, api_key=access.api_key)
    return len(await listed.next_items())


async def test_a_service_that_dies_under_it_is_told_apart_from_an_error(
    tmp_path: Path, service: Service
) -> None:
    mortal = start_service(tmp_path, "--warm", "0")
    desk = Desk(mortal)
    running = asyncio.create_task(script(desk.context, "print('begun')\nwhile True: pass"))
    while "begun" not in desk.told:
        assert not running.done()
        await asyncio.sleep(0.02)
    mortal.process.send_signal(signal.SIGKILL)
    mortal.process.wait()
    with pytest.raises(Interrupted) as caught:
        await asyncio.wait_for(running, 20)
    assert caught.value.code == "interrupted"
    with pytest.raises(ToolFailed, match="no code was run"):
        await script(desk.context, "1")
    assert (await script(Desk(service).context, "1"))["results"] == ["1"]


async def test_without_a_sandbox_no_code_runs(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    with pytest.raises(ToolFailed, match="no sandbox"):
        await script(ToolContext(), f"open({str(proof)!r}, 'w')")
    assert not proof.exists()
    assert spec_of(script).sandbox


async def test_twelve_at_once_do_not_meet(service: Service) -> None:
    desks = [Desk(service) for _ in range(12)]
    done = await asyncio.gather(*(script(desk.context, f"x = {n}\nx * 2") for n, desk in enumerate(desks)))
    assert [one["results"] for one in done] == [[str(n * 2)] for n in range(12)]
