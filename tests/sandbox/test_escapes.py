"""Every published attempt is made, and stopped."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from e2b_code_interpreter import Sandbox

from sandbox.link import GuestLink, SandboxGone, spawn
from tests.sandbox.attempts import (
    ABSENT,
    ATTEMPTS,
    CONNECT,
    HELPERS,
    NO_NETWORK,
    PAGE,
    TRIED,
    Attempt,
    published,
    tried,
)
from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(**service.options)
    for language, helper in HELPERS.items():
        made.run_code(helper, language=language)
    yield made
    made.kill()


@pytest.mark.parametrize(
    "language,allowed",
    [
        ("python", "attempt(lambda: open('/tmp/mine', 'w'))"),
        ("javascript", "await attempt(() => Deno.cwd())"),
    ],
)
def test_a_trial_that_succeeds_would_be_seen(sandbox: Sandbox, language: str, allowed: str) -> None:
    assert "ESCAPED" in "".join(sandbox.run_code(allowed, language=language).logs.stdout)


def test_the_published_list_is_what_is_tried() -> None:
    assert published() in PAGE.read_text(), "write it anew: python -m tests.sandbox.attempts"
    assert len(ATTEMPTS) + len(TRIED) >= 60


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_is_stopped(sandbox: Sandbox, attempt: Attempt) -> None:
    done = sandbox.run_code(attempt.code, language=attempt.language, timeout=20)

    said = "".join(done.logs.stdout)
    assert done.error is None, done.error
    assert "stopped:" in said, said
    assert "ESCAPED" not in said


@tried("read the gateway's files and keys", ABSENT)
def test_the_gateways_files_are_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the key")
    there = sandbox.run_code(
        f"import os; [os.path.exists(p) for p in ({str(secret)!r}, {str(Path.cwd())!r})]"
    ).text

    assert there == "[False, False]"


@tried("read the service's environment", "own process table, empty environment")
def test_the_services_environment_is_not_there(sandbox: Sandbox) -> None:
    code = "import glob\nb''.join(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/environ')).count(b'PYTEST')"

    assert os.environ.get("PYTEST_CURRENT_TEST")
    assert sandbox.run_code(code).text == "0"


@tried("reach a server on the machine's loopback", NO_NETWORK)
def test_a_server_on_the_machines_loopback_is_not_reached(sandbox: Sandbox) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        socket.create_connection(server.server_address[:2], timeout=2).close()
        code = CONNECT.format(host="127.0.0.1", port=server.server_address[1])
        assert "stopped: ConnectionRefused" in "".join(sandbox.run_code(code).logs.stdout)
    finally:
        server.shutdown()
        server.server_close()


@tried("read another sandbox's files and processes", "a kernel and files of its own")
def test_two_sandboxes_share_nothing(service: Service, sandbox: Sandbox) -> None:
    other = Sandbox.create(**service.options)
    try:
        for folder in ("/tmp", "/dev/shm", "/home/user"):
            sandbox.files.write(f"{folder}/left-here", "secret")
            assert not other.files.exists(f"{folder}/left-here")
        pid = sandbox.commands.run("sleep 97", background=True).pid
        seen = other.commands.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert "sleep 97" not in seen
        sandbox.commands.kill(pid)
    finally:
        other.kill()


@tried("lead the service outside by a symlink", "files are opened inside the sandbox")
def test_a_symlink_leads_nowhere_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the key")
    sandbox.commands.run(f"ln -s {tmp_path}/secret /home/user/link; ln -s / /home/user/root")

    with pytest.raises(Exception, match="not found"):
        sandbox.files.read("link")
    with pytest.raises(Exception, match="not found"):
        sandbox.files.read(f"root{tmp_path}/secret")


@tried("lead the service outside by a path", "files are opened inside the sandbox")
@pytest.mark.parametrize(
    "path", ["../../../../etc/shadow", "/../../etc/shadow", "..%2f..%2fetc%2fshadow", "．．/etc/shadow"]
)
def test_no_path_leads_outside(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(Exception, match="not found"):
        sandbox.files.read(path)


FORGED = {
    "claims to be too large": b"\xff" * 64,
    "is not JSON": b"\0\0\0\4\0\0\0\0nope",
    "is no object": b"\0\0\0\4\0\0\0\0null",
    "has no number": b'\0\0\0\x0b\0\0\0\0{"id": "x"}',
    "fails oddly": b'\0\0\0\x27\0\0\0\0{"id": 1, "end": true, "error": "text"}',
    "is cut off": b"\0\0\1\0\0\0",
}


@tried(
    "take the agent over and speak to the service",
    "frames that are none end their own sandbox, and nothing else",
)
@pytest.mark.parametrize("forged", FORGED)
async def test_a_forged_frame_ends_its_own_sandbox(tmp_path: Path, forged: str) -> None:
    """The service's end of the pipe, with a process that a hostile guest might have made of its agent."""
    (tmp_path / "frame").write_bytes(FORGED[forged])
    ends: list[bool] = []
    process = await spawn(["/bin/sh", "-c", f"head -c 9 >/dev/null; cat {tmp_path}/frame; exec sleep 30"])
    link = GuestLink(process, lambda: ends.append(True))
    if forged == "is cut off":
        asyncio.get_running_loop().call_later(0.5, process.kill)
    with pytest.raises(SandboxGone):
        await link.ask("anything", timeout_s=10)
    assert ends == [True]
    await process.wait()


@tried("write outside by an archive", "files of its own, read-only system image")
def test_an_archive_writes_nowhere_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    code = f"""import io, tarfile
made = io.BytesIO(); tar = tarfile.open(fileobj=made, mode='w')
for name in ('../../../../../{tmp_path.name}', '{tmp_path}/escaped', '/usr/bin/escaped'):
    entry = tarfile.TarInfo(name); tar.addfile(entry)
tar.close(); made.seek(0)
for entry in (opened := tarfile.open(fileobj=made)):
    try: opened.extract(entry, '/home/user', filter='fully_trusted')
    except OSError as error: print(error)"""
    sandbox.run_code(code)

    assert not list(tmp_path.iterdir())
    assert not Path("/usr/bin/escaped").exists()
