"""A start that cannot be: one clear line that says what to do, an exit code, nothing left running."""

from __future__ import annotations

import base64
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from operations.embedded.process import members
from portico.crypto.keyring import open_keyring
from portico.storage.engine.database import Database
from tests.conftest import MakeStack
from tests.support import RunningStack, until

pytestmark = pytest.mark.alone


def wrong_master_key(stack: RunningStack) -> None:
    open_keyring(stack.home)
    stack.home.master_key.write_bytes(base64.b64encode(os.urandom(32)))


def master_key_gone(stack: RunningStack) -> None:
    open_keyring(stack.home)
    stack.home.master_key.unlink()


def damaged_keyring(stack: RunningStack) -> None:
    open_keyring(stack.home)
    stack.home.keyring.write_text("damaged")


def damaged_database(stack: RunningStack) -> None:
    Database.open(stack.home, open_keyring(stack.home)).close()
    stack.home.database.write_bytes(b"damaged" * 4096)


def settings(text: str) -> Callable[[RunningStack], None]:
    def write(stack: RunningStack) -> None:
        stack.home.settings.write_text("port = 0\ngrpc_port = 0\n" + text)

    return write


def damaged_parts(stack: RunningStack) -> None:
    stack.home.parts.write_text("{")


BAD: dict[str, tuple[Callable[[RunningStack], None], str]] = {
    "wrong master key": (wrong_master_key, "restore the right"),
    "master key gone": (master_key_gone, "put the file back"),
    "damaged keyring": (damaged_keyring, "keyring.json is damaged"),
    "damaged parts": (damaged_parts, "parts.json is damaged"),
    "unknown key": (settings("no_such_key = 1\n"), "no_such_key: unknown key"),
    "not TOML": (settings("port = = 1\n"), "is not TOML"),
    "another address without TLS": (settings('host = "0.0.0.0"\n'), "host: 0.0.0.0 without TLS is refused"),
    "half of TLS": (settings('[tls]\nkey = "/nothing"\n'), "certificate and key go together"),
    "a certificate that is not there": (
        settings('[tls]\ncertificate = "/nothing.pem"\nkey = "/nothing.key"\n'),
        "/nothing.pem",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_says_what_to_do_in_one_line(make_stack: MakeStack, name: str) -> None:
    damage, told = BAD[name]
    stack = make_stack(start=False)
    damage(stack)
    answer = stack.run("up", "--no-prove")
    assert answer.returncode != 0
    lines = answer.stderr.strip().splitlines()
    assert told in answer.stderr
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("portico: ")
    assert "Traceback" not in answer.stdout + answer.stderr
    assert left_running(stack.home.root) == []


NO_TRITON = '[models]\ntriton = "127.0.0.1:1"\n'  # what is asked here fails long before a model is
CHANNELS = """
[channels.nosuch.default]
[channels.hook.a]
secret = "secret:missing"
nosuch = 1
"""


def test_tells_every_mistake_in_the_channels_at_once(make_stack: MakeStack) -> None:
    stack = make_stack(settings=NO_TRITON + CHANNELS, start=False)
    answer = stack.run("up", "--no-prove")
    assert answer.returncode != 0
    lines = answer.stderr.strip().splitlines()
    assert lines[0].startswith("portico: channels.")
    assert len(lines) == 2
    assert "channels.nosuch: no such channel" in answer.stderr
    assert "portico secrets set missing" in answer.stderr
    assert left_running(stack.home.root) == []


def test_a_damaged_database_is_named(make_stack: MakeStack) -> None:
    stack = make_stack(settings=NO_TRITON, start=False)
    damaged_database(stack)
    answer = stack.run("up", "--no-prove")
    assert answer.returncode != 0
    assert str(stack.home.database) in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr


def left_running(root: Path) -> list[int]:
    """Processes that have this home in their command or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(root).encode() in told:
                found.append(int(entry.name))
    return found


def test_a_port_that_is_taken_is_named(make_stack: MakeStack) -> None:
    stack = make_stack(start=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = stack.run("up", "--no-prove", "--port", str(port))
    assert answer.returncode != 0
    assert answer.stderr.startswith(f"portico: port {port} is taken")
    assert len(answer.stderr.strip().splitlines()) == 1


def test_a_second_start_says_that_it_runs(make_stack: MakeStack) -> None:
    stack = make_stack(only=("opa",))
    answer = stack.run("up")
    assert answer.returncode != 0
    assert f"process {stack.supervisor.pid}" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_what_a_killed_stack_left_keeps_nobody_from_starting(make_stack: MakeStack) -> None:
    stack = make_stack(only=("opa",))
    orphan = stack.pid("opa")
    stack.supervisor.send_signal(signal.SIGKILL)
    stack.supervisor.wait()
    assert (stack.home.run / "supervisor.lock").exists()
    assert stack.run("status").returncode != 0
    stack.start()
    assert stack.is_ready("opa")
    assert not members(orphan)


def test_a_process_that_became_unfit_is_told_of_and_comes_back_when_mended(make_stack: MakeStack) -> None:
    stack = make_stack()
    right = stack.home.master_key.read_bytes()
    stack.home.master_key.write_bytes(base64.b64encode(os.urandom(32)))
    stack.kill("api")
    wait_for(stack, "the master key does not open")
    stack.home.master_key.write_bytes(right)
    stack.wait_ready("api")
    assert "42" in stack.run("send", "what is 6 * 7?").stdout


def wait_for(stack: RunningStack, told: str) -> None:
    until(lambda: told in stack.output, timeout_s=30)
