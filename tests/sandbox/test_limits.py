"""Taking too much ends what took it; the service and the other sandboxes go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2b import TimeoutException
from e2b_code_interpreter import Sandbox

from tests.sandbox.attempts import tried
from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(**service.options)
    yield made
    made.kill()


def assert_others_work(service: Service) -> None:
    other = Sandbox.create(**service.options)
    assert other.run_code("6 * 7").text == "42"
    other.kill()


@tried("take all memory", "a cgroup where one may be made, and a watch that ends the sandbox")
def test_taking_all_memory_ends_the_sandbox(service: Service, sandbox: Sandbox) -> None:
    greedy = "held = []\nwhile True: held.append(b'x' * 50_000_000)"
    with pytest.raises(Exception, match=r"killed|not found|peer closed|EOF|sandbox"):
        sandbox.run_code(greedy, timeout=30)

    assert not sandbox.is_running()
    assert_others_work(service)


@tried("fill the disk", "files in memory, of limited size")
def test_filling_every_disk_ends_in_no_space(sandbox: Sandbox) -> None:
    for folder, size_mb in (("/tmp", 256), ("/dev/shm", 256)):
        code = f"with open('{folder}/full', 'wb') as f:\n  for _ in range({size_mb + 8}): f.write(b'x' * 1048576)"
        error = sandbox.run_code(code).error
        assert error is not None
        assert "No space left" in error.value
        sandbox.commands.run(f"rm {folder}/full")


@tried("a fork bomb", "a limit of processes and threads")
def test_a_fork_bomb_is_held(service: Service, sandbox: Sandbox) -> None:
    """Either no more processes can be made, or the sandbox ends; nobody else notices."""
    bomb = "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(60)"
    try:
        done = sandbox.run_code(bomb, timeout=30)
    except TimeoutException:
        assert not sandbox.is_running()
    else:
        assert done.error is not None
        assert "unavailable" in done.error.value
    assert_others_work(service)


@tried("open files without end", "a limit of open files")
def test_opening_files_without_end_is_held(sandbox: Sandbox) -> None:
    error = sandbox.run_code("held = []\nwhile True: held.append(open('/dev/null'))").error

    assert error is not None
    assert "Too many open files" in error.value


@tried("flood the service with output", "bounded queues and pipes that wait")
def test_a_flood_from_a_command_leaves_the_service_alive(service: Service, sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutException):
        sandbox.commands.run("yes", timeout=1, on_stdout=lambda _: None)
    began = time.monotonic()

    assert_others_work(service)
    assert time.monotonic() - began < 10


@tried("leave a process behind", "its kernel ends, and everything in it")
def test_orphans_end_with_the_sandbox(service: Service) -> None:
    sandbox = Sandbox.create(**service.options)
    sandbox.run_code("import subprocess; subprocess.Popen('setsid nohup sleep 3607 &', shell=True)")
    sandbox.kill()

    for _ in range(100):
        if not any(
            sandbox.sandbox_id.encode() in _words(path) for path in Path("/proc").glob("[0-9]*/cmdline")
        ):
            return
        time.sleep(0.05)
    raise AssertionError("something of the sandbox is still there")


def _words(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
