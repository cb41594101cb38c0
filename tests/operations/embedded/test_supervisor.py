from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from operations.embedded.process import members
from operations.embedded.state import Registry, SupervisorLock
from portico.processes import ProcessIdentity
from tests.conftest import MakeStack
from tests.support import RunningStack, StartFailed, until

pytestmark = pytest.mark.alone

LIGHT = ("opa", "s3")


def pids(stack: RunningStack) -> list[int]:
    sessions = {entry["pid"] for entry in stack.parts().values() if entry["pid"]}
    return [pid for session in sessions for pid in members(session)]


def gone(those: list[int]) -> bool:
    return all(ProcessIdentity.of(pid) is None for pid in those)


@pytest.mark.parametrize("part", LIGHT)
def test_starts_a_killed_part_again_at_the_same_address(make_stack: MakeStack, part: str) -> None:
    stack = make_stack(only=LIGHT)
    address = stack.address(part)
    killed = stack.kill(part)
    stack.wait_ready(part)
    assert stack.pid(part) != killed
    assert stack.address(part) == address
    assert "signal SIGKILL" in stack.output


def test_leaves_nothing_running_when_the_supervisor_is_killed(make_stack: MakeStack) -> None:
    stack = make_stack(only=("temporal", "opa", "s3", "triton"))
    running = pids(stack)
    assert len(running) >= 6, "Triton runs a stub for each model"
    stack.supervisor.kill()
    stack.supervisor.wait()
    until(lambda: gone(running), timeout_s=10)
    stack.start()
    assert all(stack.is_ready(part) for part in stack.only)


def test_ends_what_a_killed_stack_left_and_spares_a_recycled_id(make_stack: MakeStack) -> None:
    stack = make_stack(only=("s3",), start=False)
    left = subprocess.Popen(("sleep", "600"), start_new_session=True)
    stranger = subprocess.Popen(("sleep", "600"), start_new_session=True)
    try:
        registry = Registry.load(stack.home)
        registry.set_running("temporal", (), ProcessIdentity.of(left.pid))
        other = ProcessIdentity.of(stranger.pid)
        assert other is not None
        registry.set_running("opa", (), ProcessIdentity(other.pid, other.started - 1, other.boot))
        stack.start()
        assert left.poll() == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        left.kill()
        stranger.kill()
        left.wait()
        stranger.wait()


def test_runs_two_stacks_side_by_side(make_stack: MakeStack) -> None:
    one, two = make_stack(only=LIGHT), make_stack(only=LIGHT)
    addresses = {stack.address(door) for stack in (one, two) for door in ("opa", "s3", "api", "api-grpc")}
    assert len(addresses) == 8
    assert all(stack.is_ready(part) for stack in (one, two) for part in LIGHT)
    assert one.credentials()["opa_token"] != two.credentials()["opa_token"]


def test_stops_without_an_orphan(make_stack: MakeStack) -> None:
    stack = make_stack(only=("temporal", "opa", "s3", "triton"))
    running = pids(stack)
    down = stack.run("down")
    assert down.returncode == 0, down.stderr
    assert stack.supervisor.wait(timeout=10) == 0
    assert gone(running)
    assert all(entry["pid"] is None for entry in stack.parts().values())


def test_keeps_its_addresses_over_a_restart(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT)
    before = {door: stack.address(door) for door in ("opa", "s3", "api", "api-grpc")}
    stack.stop()
    stack.start()
    assert {door: stack.address(door) for door in before} == before


def test_takes_another_inner_port_where_the_old_one_is_taken(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT)
    stack.stop()
    host, _, port = stack.address("opa").rpartition(":")
    with socket.create_server((host, int(port))):
        stack.start()
        assert stack.address("opa") != f"{host}:{port}"
        assert stack.is_ready("opa")


def test_refuses_a_second_supervisor_with_one_line(make_stack: MakeStack) -> None:
    stack = make_stack(only=("s3",))
    second = stack.run("up", "--only", "s3")
    assert second.returncode == 1
    assert f"process {stack.supervisor.pid}" in second.stderr
    assert "portico down" in second.stderr
    assert stack.is_ready("s3")


def test_takes_over_a_lock_that_nobody_holds(make_stack: MakeStack) -> None:
    stack = make_stack(only=("s3",), start=False)
    (stack.home.run / "supervisor.lock").write_text(str(os.getpid()))
    stack.start()
    assert stack.is_ready("s3")


def test_refuses_a_taken_port_that_a_person_chose(make_stack: MakeStack) -> None:
    stack = make_stack(only=("s3",), start=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = stack.run("up", "--only", "s3", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_tells_why_a_part_does_not_come_up(make_stack: MakeStack) -> None:
    stack = make_stack(only=("temporal", "s3"), start=False)
    stack.home.temporal.mkdir()
    (stack.home.temporal / "temporal.db").write_text("this is no database\n" * 1000)
    with pytest.raises(StartFailed) as failed:
        stack.start()
    assert "temporal did not come up" in str(failed.value)
    assert str(stack.home.logs / "temporal.log") in str(failed.value)
    assert stack.supervisor.returncode == 1
    assert gone(pids(stack))


def test_status_tells_each_part_as_json(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT)
    status = stack.run("status", "--json")
    told = json.loads(status.stdout)
    states = {part["part"]: part["state"] for part in told["parts"]}
    assert status.returncode == 1, "not every part runs"
    assert (states["opa"], states["s3"], states["temporal"]) == ("ready", "ready", "stopped")
    assert told["supervisor"] == stack.supervisor.pid
    assert all(part["pss_bytes"] > 0 for part in told["parts"] if part["state"] == "ready")


def test_status_tells_a_part_that_hangs(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT)
    os.kill(stack.pid("opa"), signal.SIGSTOP)
    told = json.loads(stack.run("status", "--json").stdout)
    os.kill(stack.pid("opa"), signal.SIGCONT)
    assert {part["part"]: part["state"] for part in told["parts"]}["opa"] == "starting"


def test_goes_behind_when_everything_is_ready(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT, start=False)
    up = stack.run("up", "--only", ",".join(LIGHT), "--detach")
    try:
        assert up.returncode == 0, up.stderr
        assert all(stack.is_ready(part) for part in LIGHT)
    finally:
        assert stack.run("down").returncode == 0


def test_failed_start_behind_has_its_exit_code(make_stack: MakeStack) -> None:
    stack = make_stack(only=("temporal",), start=False)
    stack.home.temporal.mkdir()
    (stack.home.temporal / "temporal.db").write_text("this is no database\n" * 1000)
    up = stack.run("up", "--only", "temporal", "--detach")
    assert up.returncode == 1
    assert "temporal did not come up" in up.stdout + up.stderr


def test_logs_shows_the_end_of_a_log(make_stack: MakeStack) -> None:
    stack = make_stack(only=("opa",))
    shown = stack.run("logs", "opa", "-n", "3")
    assert shown.returncode == 0
    assert "Initializing server" in shown.stdout
    missing = stack.run("logs", "nothing")
    assert missing.returncode == 1
    assert "nothing" in missing.stderr


def test_moves_a_large_log_aside_at_the_start(make_stack: MakeStack) -> None:
    stack = make_stack(only=("s3",), start=False)
    log: Path = stack.home.logs / "s3.log"
    log.write_bytes(b"x" * (11 * 1024 * 1024))
    stack.start()
    assert log.stat().st_size < 1024 * 1024
    assert log.with_suffix(".log.1").stat().st_size == 11 * 1024 * 1024


def test_a_second_signal_ends_a_part_that_does_not_stop(make_stack: MakeStack) -> None:
    stack = make_stack(only=LIGHT)
    running = pids(stack)
    os.kill(stack.pid("s3"), signal.SIGSTOP)
    stack.supervisor.send_signal(signal.SIGTERM)
    until(lambda: stack.parts()["opa"]["pid"] is None, timeout_s=10)
    stack.supervisor.send_signal(signal.SIGTERM)
    stack.supervisor.wait(timeout=5)
    assert gone(running)


def test_the_lock_names_its_holder_and_is_free_after_it(make_stack: MakeStack) -> None:
    lock = SupervisorLock(make_stack(start=False).home)
    for _ in range(3):
        lock.acquire()
        assert lock.holder() == os.getpid()
        lock.release()
        assert lock.holder() is None


def test_takes_a_changed_rule_without_a_restart(make_stack: MakeStack) -> None:
    stack = make_stack(only=("opa",))
    opa = stack.pid("opa")
    rule = stack.home.policies / "mine.rego"
    rule.write_text("this is no rule\n")
    until(lambda: "mine.rego" in stack.output, timeout_s=10)
    rule.write_text('package portico.user.inbound\n\ndeny contains "closed" if input.actor.role == "guest"\n')
    until(lambda: "new rules are in force" in stack.output, timeout_s=10)
    assert stack.pid("opa") == opa
