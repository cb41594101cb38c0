"""Pausing, resuming and copying through E2B's unmodified SDK."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from e2b.exceptions import RateLimitException, SandboxException, SandboxNotFoundException
from e2b_code_interpreter import Sandbox

from sandbox.pictures import Pictures
from tests.sandbox.attempts import tried
from tests.sandbox.conftest import MakeService, Service
from tests.sandbox.test_api import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
DRAW = "import os, random, uuid, numpy.random; [random.random(), numpy.random.rand(), os.urandom(8), uuid.uuid4()]"
DRAW_JS = "[Math.random(), crypto.randomUUID()].join()"
SECRET = "told-in-confidence-" + "x" * 40


@pytest.fixture
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(**service.options)
    yield made
    made.kill()


def pictures_of(service: Service) -> list[Path]:
    return list((service.folder / "state" / "pictures").iterdir())


def test_a_paused_sandbox_answers_nobody(service: Service, sandbox: Sandbox) -> None:
    assert sandbox.pause()
    assert not sandbox.pause()

    assert not sandbox.is_running()
    with pytest.raises(Exception, match="not found"):
        sandbox.run_code("1", timeout=5)
    with pytest.raises(SandboxException, match="paused"):
        sandbox.fork()
    with pytest.raises(SandboxException, match="paused"):
        sandbox.create_snapshot()


def test_a_paused_sandbox_goes_on_where_it_was(service: Service, sandbox: Sandbox) -> None:
    sandbox.run_code("kept = 41")
    sandbox.run_code("let kept = 41", language="js")
    sandbox.files.write("file.txt", "here")
    command = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    sandbox.pause()

    again = Sandbox.connect(sandbox.sandbox_id, **service.options)
    assert again.run_code("kept + 1").text == "42"
    assert again.run_code("kept + 1", language="js").text == "42"
    assert again.files.read("file.txt") == "here"
    joined = again.commands.connect(command.pid)
    again.commands.send_stdin(command.pid, "it\n")
    assert joined.wait().stdout == "got it\n"
    assert pictures_of(service) == []


@tried("read a paused sandbox on the disk", "AES-256-GCM under a key that only the service's memory holds")
def test_a_pause_keeps_nothing_that_can_be_read(service: Service, sandbox: Sandbox) -> None:
    sandbox.run_code(f"held = {SECRET!r} * 1000")
    sandbox.files.write("secret.txt", SECRET)
    sandbox.pause()

    (picture,) = pictures_of(service)
    data = picture.read_bytes()
    assert SECRET.encode() not in data
    assert picture.stat().st_mode & 0o077 == 0
    sample = data[: 1 << 20]
    shares = [sample.count(bytes([value])) / len(sample) for value in range(256)]
    assert -sum(share * math.log2(share) for share in shares if share) > 7.99  # bits a byte: as noise
    assert not [path for path in service.open_pictures() if SECRET.encode() in path.read_bytes()]
    sandbox.kill()
    wait_until(lambda: pictures_of(service) == [])
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sandbox.sandbox_id, **service.options)


@tried(
    "guess a copy's random numbers, or open it with another's tokens",
    "new seeds and tokens before the first use",
)
def test_forks_share_the_past_and_nothing_else(service: Service, sandbox: Sandbox) -> None:
    sandbox.run_code("kept = 'before'\n" + DRAW)
    sandbox.run_code(DRAW_JS, language="js")
    one, two = sandbox.fork(count=2)
    assert isinstance(one, Sandbox) and isinstance(two, Sandbox)
    try:
        family = (sandbox, one, two)
        assert {each.run_code("kept").text for each in family} == {"before"}
        one.run_code("kept = 'one'")
        one.files.write("one.txt", "mine")
        assert two.run_code("kept").text == "before"
        assert not two.files.exists("one.txt")
        for code, language in ((DRAW, "python"), (DRAW_JS, "js"), ("echo $RANDOM $RANDOM $SRANDOM", "bash")):
            for _ in range(2):
                drawn = [each.run_code(code, language=language) for each in family]
                parts = [set((each.text or each.logs.stdout[0]).strip("[]\n").split(", ")) for each in drawn]
                assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
        tokens = {str(each.connection_config.sandbox_headers["X-Access-Token"]) for each in family}
        assert len(tokens) == len({each.traffic_access_token for each in family}) == 3
        stolen = {"e2b-sandbox-id": two.sandbox_id, "x-access-token": tokens.pop()}
        refused = [
            httpx2.post(
                f"{service.url}/execute", headers={**stolen, "x-access-token": token}, json={"code": "1"}
            )
            for token in tokens
        ]
        assert 401 in {answer.status_code for answer in refused}
    finally:
        one.kill()
        two.kill()


def test_sandboxes_that_start_from_one_picture_draw_other_numbers(service: Service) -> None:
    """Every sandbox is made from the picture of a fresh one."""
    made = [Sandbox.create(**service.options) for _ in range(2)]
    try:
        drawn = [set(str(each.run_code(DRAW).text).strip("[]").split(", ")) for each in made]
        assert not drawn[0] & drawn[1]
        assert made[0].list_code_contexts()[0].id != made[1].list_code_contexts()[0].id
    finally:
        for each in made:
            each.kill()


def test_a_snapshot_outlives_its_sandbox(service: Service, sandbox: Sandbox) -> None:
    sandbox.run_code("kept = 1")
    taken = sandbox.create_snapshot(name="first")
    sandbox.run_code("kept = 2")

    assert [each.snapshot_id for each in Sandbox.list_snapshots(**service.options).next_items()] == [
        taken.snapshot_id
    ]
    sandbox.kill()
    later = Sandbox.create(taken.snapshot_id, **service.options)
    assert later.run_code("kept").text == "1"
    later.kill()
    assert Sandbox.delete_snapshot(taken.snapshot_id, **service.options)
    assert not Sandbox.delete_snapshot(taken.snapshot_id, **service.options)
    assert pictures_of(service) == []
    with pytest.raises(Exception, match="template"):
        Sandbox.create(taken.snapshot_id, **service.options)


@tried("wake a paused sandbox without its token", "tokens are asked for first")
def test_a_sandbox_pauses_at_the_end_of_its_time_and_wakes(service: Service) -> None:
    sandbox = Sandbox.create(
        timeout=60, lifecycle={"on_timeout": "pause", "auto_resume": True}, **service.options
    )
    sandbox.run_code("kept = 3")
    sandbox.set_timeout(1)
    wait_until(lambda: sandbox.get_info().state.value == "paused")

    stranger = {"e2b-sandbox-id": sandbox.sandbox_id, "x-access-token": "0" * 64}
    assert httpx2.post(f"{service.url}/execute", headers=stranger, json={"code": "1"}).status_code == 502
    assert sandbox.get_info().state.value == "paused"
    assert sandbox.run_code("kept", timeout=20).text == "3"
    sandbox.kill()


def test_a_cell_that_runs_is_paused_with_its_sandbox(service: Service, sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match="timed out"):
        sandbox.run_code("import time\nfor n in range(600): time.sleep(0.1)", timeout=1, request_timeout=1)
    sandbox.pause()
    again = Sandbox.connect(sandbox.sandbox_id, **service.options)

    assert again.run_code("n < 599", timeout=10).text == "True"


@tried("fill the disk with pauses and the machine with forks", "limits of pictures and of sandboxes")
def test_pictures_have_a_limit_and_leave_nothing_behind(make_service: MakeService) -> None:
    service = make_service("--pictures-mib", "8", "--most", "2")
    sandbox = Sandbox.create(**service.options)
    sandbox.run_code("kept = 7")

    with pytest.raises(SandboxException, match=r"8 MiB together"):
        sandbox.pause()
    assert sandbox.run_code("kept").text == "7"
    assert pictures_of(service) == []
    made = sandbox.fork(count=2)
    assert isinstance(made[0], Sandbox)
    assert isinstance(made[1], RateLimitException)
    began = time.monotonic()
    service.process.kill()
    service.process.wait()
    again = make_service()
    assert time.monotonic() - began < 60
    assert pictures_of(again) == []


def test_a_kill_in_the_middle_of_anything_leaves_nothing(service: Service) -> None:
    with ThreadPoolExecutor(2) as threads:
        for delay_s, paused in ((0.05, False), (0.2, False), (0.02, True), (0.1, True), (0.3, True)):
            sandbox = Sandbox.create(**service.options)
            if paused:
                sandbox.pause()
                turning = threads.submit(Sandbox.connect, sandbox.sandbox_id, **service.options)
            else:
                turning = threads.submit(sandbox.pause)
            time.sleep(delay_s)
            assert sandbox.kill()
            turning.exception(timeout=30)
            with pytest.raises(SandboxNotFoundException):
                sandbox.get_info()
    wait_until(lambda: pictures_of(service) == [])
    assert Sandbox.create(**service.options).kill()


def test_what_a_killed_service_left_in_memory_is_removed(tmp_path: Path) -> None:
    left = Path(f"/dev/shm/portico-sandbox-{os.getuid()}-{'0' * 16}")
    held = Pictures(tmp_path, 1)
    left.mkdir(exist_ok=True)
    (left / "lock").touch()
    other = tmp_path / "other"
    other.mkdir()
    Pictures(other, 1).close()

    assert not left.exists()
    assert held.new_folder(1).is_dir()
    held.close()


@pytest.mark.parametrize(
    "path,body",
    [
        ("pause", b"{"),
        ("pause", b'{"memory": false}'),
        ("fork", b'{"count": 0}'),
        ("fork", b'{"count": 101}'),
        ("fork", b'{"count": true}'),
        ("fork", b'{"timeout": -1}'),
        ("snapshots", b'{"name": 7}'),
        ("connect", b'{"memory": false}'),
    ],
)
def test_a_malformed_request_is_refused(service: Service, sandbox: Sandbox, path: str, body: bytes) -> None:
    url = f"{service.url}/sandboxes/{sandbox.sandbox_id}/{path}"

    assert httpx2.post(url, content=body, headers={"x-api-key": service.key}).status_code == 400
    assert httpx2.post(url, content=body).status_code == 401
    assert (
        httpx2.post(f"{service.url}/sandboxes/other/{path}", headers={"x-api-key": service.key}).status_code
        == 404
    )
