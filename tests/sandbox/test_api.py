"""Making, finding and ending sandboxes, and who may."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2b import SandboxQuery
from e2b.exceptions import AuthenticationException, RateLimitException, SandboxNotFoundException
from e2b_code_interpreter import Sandbox

from tests.sandbox.attempts import tried
from tests.sandbox.conftest import MakeService, Service, start_service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def wait_until(true: Callable[[], bool], timeout_s: float = 10) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.05)


def test_a_wrong_key_is_refused(service: Service) -> None:
    with pytest.raises(AuthenticationException):
        Sandbox.create(**{**service.options, "api_key": "e2b_" + "0" * 40})


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"timeout": -1}',
        b'{"timeout": 1e9}',
        b'{"envVars": {"A": 1}}',
        b'{"metadata": []}',
    ],
)
def test_a_malformed_request_is_refused(service: Service, body: bytes) -> None:
    answer = httpx2.post(f"{service.url}/v2/sandboxes", content=body, headers={"x-api-key": service.key})

    assert answer.status_code == 400
    assert answer.json()["code"] == 400


def test_an_unknown_template_is_refused(service: Service) -> None:
    with pytest.raises(Exception, match="template"):
        Sandbox.create(template="nothing", **service.options)


@tried("use the tokens of another sandbox", "tokens of its own for each")
@pytest.mark.parametrize(
    "method,path", [("POST", "/execute"), ("GET", "/contexts"), ("POST", "/filesystem.Filesystem/Stat")]
)
def test_tokens_of_another_sandbox_open_nothing(service: Service, method: str, path: str) -> None:
    mine, theirs = Sandbox.create(**service.options), Sandbox.create(**service.options)
    headers: dict[str, Any] = {"e2b-sandbox-id": theirs.sandbox_id}
    token = str(mine.connection_config.sandbox_headers["X-Access-Token"])

    for name in ("x-access-token", "e2b-traffic-access-token"):
        answer = httpx2.request(
            method, service.url + path, headers={**headers, name: token}, json={"code": "1"}
        )
        assert answer.status_code == 401
    assert httpx2.request(method, service.url + path, headers=headers, json={"code": "1"}).status_code == 401
    mine.kill()
    theirs.kill()


def test_a_sandbox_is_found_by_what_it_was_made_with(service: Service) -> None:
    sandbox = Sandbox.create(metadata={"person": "ann & bob"}, timeout=60, **service.options)
    try:
        found = Sandbox.list(
            query=SandboxQuery(metadata={"person": "ann & bob"}), **service.options
        ).next_items()
        assert [each.sandbox_id for each in found] == [sandbox.sandbox_id]
        again = Sandbox.connect(sandbox.sandbox_id, **service.options)
        assert again.run_code("5").text == "5"
    finally:
        assert sandbox.kill()
    assert not sandbox.kill()
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sandbox.sandbox_id, **service.options)


def test_a_sandbox_ends_with_its_time(service: Service) -> None:
    sandbox = Sandbox.create(timeout=60, **service.options)
    sandbox.set_timeout(1)

    wait_until(lambda: not sandbox.is_running())


def test_memory_in_use_is_told(service: Service) -> None:
    sandbox = Sandbox.create(**service.options)
    sandbox.run_code("held = b'x' * 50_000_000")

    assert sandbox.get_metrics()[0].mem_used > 50_000_000
    sandbox.kill()


@tried("make sandboxes without end", "a limit of sandboxes")
def test_too_many_are_refused_and_nothing_outlives_the_service(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service("--most", "1", "--warm", "0")
    sandbox = Sandbox.create(**service.options)
    sandbox.run_code("1")
    with pytest.raises(RateLimitException):
        Sandbox.create(**service.options)

    service.process.send_signal(signal.SIGKILL)
    service.process.wait()

    wait_until(lambda: not _processes_naming(str(tmp_path)))

    again = make_service("--warm", "0")
    assert not (tmp_path / "state" / "bundles" / sandbox.sandbox_id).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/portico-sandbox-{sandbox.sandbox_id}"))
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sandbox.sandbox_id, **again.options)


@tried(
    "outlive a service that was killed", "each sandbox dies with its parent, the next start removes the rest"
)
def test_a_service_killed_in_the_middle_of_a_cell_leaves_nothing(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service("--warm", "0")
    sandbox = Sandbox.create(**service.options)
    told: list[BaseException] = []

    def run() -> None:
        try:
            sandbox.run_code("import time; print('begun', flush=True); time.sleep(60)", on_stdout=begun.put)
        except Exception as error:  # noqa: BLE001 - in which of its ways the SDK says that nobody answers any more
            told.append(error)

    begun: queue.Queue[object] = queue.Queue()
    cell = threading.Thread(target=run)
    cell.start()
    begun.get(timeout=20)
    service.process.kill()
    service.process.wait()
    cell.join(20)
    assert told

    again = make_service("--warm", "0")
    assert not _processes_naming(sandbox.sandbox_id)
    assert Sandbox.create(**again.options).run_code("6 * 7").text == "42"


def test_without_isolation_the_service_ends_with_the_reason(tmp_path: Path) -> None:
    """A `runsc` that cannot set anything apart, as where namespaces are forbidden."""
    runsc = tmp_path / "runsc"
    runsc.write_text("#!/bin/sh\necho 'operation not permitted' >&2; exit 128\n")
    runsc.chmod(0o755)
    with pytest.raises(
        AssertionError, match=r"no sandbox can be set apart here: operation not permitted\..*root"
    ):
        start_service(tmp_path, "--runsc", str(runsc))
    with pytest.raises(AssertionError, match=r"builds it, or name one"):
        start_service(tmp_path, "--runsc", str(tmp_path / "nothing"))


def _processes_naming(text: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except OSError:
            continue
        if b"runsc" in words and text.encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found
