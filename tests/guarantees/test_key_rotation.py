"""Keys are rotated under traffic: nothing is lost, and everything written before and after can be read."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from operations.embedded.process import spawn
from portico.crypto.holders import holders
from portico.crypto.keyring import CURRENT, KNOWN, open_keyring
from portico.crypto.rotation import list_keys
from portico.settings.home import Home
from tests.guarantees.gateway import Gateway
from tests.guarantees.history import all_runs, story, temporal
from tests.guarantees.platforms import check_promises
from tests.support import CHECKOUT, RunningStack, until

pytestmark = pytest.mark.alone

ENOUGH = 8
KEY_ID = re.compile(rb"p[0-9a-f]{12}")


async def test_keys_rotated_under_traffic_lose_nothing(gateway: Gateway) -> None:
    """The worker is killed between the two steps of the first rotation, and a second one starts late."""
    before = open_keyring(gateway.stack.home).current("payload").id
    log_at = {part: _log_size(gateway.stack, part) for part in ("api", "worker")}
    with gateway.traffic() as traffic:
        traffic.wait_for_acks(ENOUGH)
        with ThreadPoolExecutor(1) as pool:
            rotating = pool.submit(gateway.stack.run, "keyring", "rotate", "payload")
            until(lambda: _state(gateway.stack.home, "payload", KNOWN) is not None, timeout_s=30)
            gateway.kill("worker")
            with _late_worker(gateway.stack):
                assert rotating.result().returncode == 0, rotating.result().stderr
                traffic.wait_for_acks(ENOUGH)
                for purpose in ("blob", "live"):
                    done = gateway.stack.run("keyring", "rotate", purpose)
                    assert done.returncode == 0, done.stderr
                traffic.wait_for_acks(ENOUGH)
                gateway.kill("api")
                done = gateway.stack.run("keyring", "rotate", "master")
                assert done.returncode == 0, done.stderr
                traffic.wait_for_acks(ENOUGH)
        gateway.kill("worker")  # from here on with the new master key
        traffic.wait_for_acks(ENOUGH)
        traffic.drain()
    check_promises(traffic)
    assert [letter for chat in traffic.chats for letter in gateway.letters_of(chat.id)] == []
    for part, size in log_at.items():
        added = (gateway.stack.home.logs / f"{part}.log").read_bytes()[size:]
        assert b"live.refused" not in added
        assert b"keyring.not_reloaded" not in added
    after = _state(gateway.stack.home, "payload", CURRENT)
    assert after not in (None, before)
    used = await _key_ids_of_histories(gateway, {gateway.workflow_of(chat.id) for chat in traffic.chats})
    assert {before, after} <= used


def test_a_rotation_that_is_killed_while_it_waits_is_resumed(gateway: Gateway) -> None:
    home = gateway.stack.home
    command = (sys.executable, "-m", "entrypoints.cli.main", "keyring", "rotate", "live")
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=gateway.stack.environment(), stdout=subprocess.DEVNULL
    )
    until(lambda: _state(home, "live", KNOWN) is not None, timeout_s=30)
    known = _state(home, "live", KNOWN)
    refused = gateway.stack.run("keyring", "rotate", "payload")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "another rotation" in refused.stderr
    assert gateway.stack.run("keyring", "rotate", "live").returncode == 0
    assert _state(home, "live", CURRENT) == known


def _state(home: Home, purpose: str, state: str) -> str | None:
    keys = [key.id for key in list_keys(home.keyring) if (key.purpose, key.state) == (purpose, state)]
    return keys[-1] if keys else None


def _log_size(stack: RunningStack, part: str) -> int:
    return (stack.home.logs / f"{part}.log").stat().st_size


@contextmanager
def _late_worker(stack: RunningStack) -> Iterator[None]:
    """A second worker of the same home, which starts while a rotation waits."""
    log = stack.home.logs / "late-worker.log"
    command = (sys.executable, "-m", "entrypoints.serve.worker")
    process = spawn(command, environment=stack.environment(), log=log, cwd=CHECKOUT)
    try:
        until(lambda: process.pid in {holder.pid for holder in holders(stack.home)}, timeout_s=60)
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _key_ids_of_histories(gateway: Gateway, workflows: set[str]) -> set[str]:
    """Every payload of these runs is decrypted on the way; the ids of the keys that it took."""
    client = await temporal(gateway)
    known = {key.id.encode() for key in open_keyring(gateway.stack.home).keys()}  # noqa: SIM118
    used: set[bytes] = set()
    async for workflow_id, run_id in all_runs(client):
        if workflow_id in workflows:
            assert await story(client, workflow_id, run_id=run_id)
            history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            for event in history.events:
                used |= known & set(KEY_ID.findall(event.SerializeToString()))
    return {key_id.decode() for key_id in used}
