"""Commands through E2B's unmodified SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from e2b import CommandExitException, PtySize, TimeoutException
from e2b_code_interpreter import Sandbox

from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(envs={"GREETING": "hello"}, **service.options)
    yield made
    made.kill()


def test_a_command_that_fails_says_how(sandbox: Sandbox) -> None:
    with pytest.raises(CommandExitException) as failed:
        sandbox.commands.run("echo out; echo err >&2; exit 7")

    assert (failed.value.exit_code, failed.value.stdout, failed.value.stderr) == (7, "out\n", "err\n")


def test_a_folder_that_is_not_there_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match="cannot start"):
        sandbox.commands.run("true", cwd="/nowhere")


def test_another_user_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match="no user"):
        sandbox.commands.run("id", user="root")


def test_a_command_has_its_folder_and_variables(sandbox: Sandbox) -> None:
    done = sandbox.commands.run("pwd; echo $GREETING $OWN", cwd="/tmp", envs={"OWN": "mine"})

    assert done.stdout == "/tmp\nhello mine\n"


def test_output_arrives_while_it_runs(sandbox: Sandbox) -> None:
    seen: list[float] = []
    sandbox.commands.run("echo 1; sleep 0.5; echo 2", on_stdout=lambda _: seen.append(time.monotonic()))

    assert seen[1] - seen[0] > 0.3


def test_a_command_past_its_time_is_killed(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutException):
        sandbox.commands.run("sleep 61.5", timeout=1)

    time_limit = time.monotonic() + 5
    while (
        "61.5"
        in sandbox.commands.run(
            "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '^.*[6]1.5' || true"
        ).stdout
    ):
        assert time.monotonic() < time_limit
        time.sleep(0.1)


def test_a_background_command_is_fed_found_and_killed(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("cat; sleep 60", background=True, stdin=True)

    assert handle.pid in {process.pid for process in sandbox.commands.list()}
    sandbox.commands.send_stdin(handle.pid, "fed\n")
    for stdout, _, _ in handle:
        assert stdout == "fed\n"
        break
    assert sandbox.commands.kill(handle.pid)
    assert not sandbox.commands.kill(999_999)


def test_a_command_can_be_joined_by_another_client(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    again = sandbox.commands.connect(handle.pid)
    sandbox.commands.send_stdin(handle.pid, "it\n")

    assert again.wait().stdout == "got it\n"


def test_a_terminal_is_one(sandbox: Sandbox) -> None:
    terminal = sandbox.pty.create(PtySize(rows=33, cols=101))
    sandbox.pty.send_stdin(terminal.pid, b"stty size; tty; exit\n")
    seen = b"".join(data or b"" for _, _, data in terminal)

    assert b"33 101" in seen
    assert b"/dev/pts/" in seen
