"""kill -9 of every container in turn while messages come in, down and up, and what lies in the volumes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.deployment import SNI, Deployment
from tests.deploy.people import Crowd

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
PARTS = ("api", "caddy", "opa", "postgres", "s3", "sandbox", "temporal", "temporal-ui", "triton", "worker")


@pytest.mark.parametrize("service", PARTS)
def test_a_killed_container_loses_nothing(deployment: Deployment, service: str) -> None:
    crowd = Crowd(deployment)
    with crowd.talking():
        crowd.wait_for_sent(3)
        deployment.kill(deployment.containers(service)[0])
        crowd.wait_for_sent(crowd.sent + 5)
    crowd.prove_each_answered_once()


def test_a_repeated_message_is_one_turn_after_a_kill(deployment: Deployment) -> None:
    assert deployment.answer("what is 5 * 5?", message="before-the-kill") == "5 × 5 = 25"
    before = len(deployment.lines())
    deployment.kill(deployment.containers("worker")[0])
    assert deployment.answer("what is 5 * 5?", message="before-the-kill") == "5 × 5 = 25"
    assert len(deployment.lines()) == before


def test_scripts_and_history_are_back_after_a_kill(deployment: Deployment) -> None:
    for service in ("sandbox", "temporal-ui"):
        deployment.kill(deployment.containers(service)[0])
    asked = {"toolName": "script", "parameters": {"code": "print(6 * 7)"}}
    ends = time.monotonic() + 60
    while True:
        done = deployment.call("POST", "/v1/invocations?wait_s=60", asked)
        if done["status"] == "succeeded":
            break
        assert time.monotonic() < ends, done
        time.sleep(1)
    assert done["output"]["stdout"].strip() == "42"
    with deployment.client() as client:
        while client.get("/temporal/", extensions=SNI).status_code != 200:
            assert time.monotonic() < ends, deployment.state()
            time.sleep(1)


def test_down_and_up_keep_every_message(deployment: Deployment) -> None:
    deployment.answer("what is 9 * 9?", message="before-down")
    before = deployment.lines()
    deployment.down()
    deployment.up()
    assert deployment.lines() == before
    assert deployment.answer("what is 8 * 8?", message="after-up") == "8 × 8 = 64"


def test_nothing_readable_lies_in_the_volumes(deployment: Deployment) -> None:
    word = "heronstandsinthereeds"
    deployment.answer(f"{word} hello", message="marked")
    write_out = "PGPASSWORD=$(cat /run/secrets/postgres_password) psql -h 127.0.0.1 -U postgres -c CHECKPOINT"
    deployment.compose("exec", "-T", "postgres", "sh", "-c", write_out)
    root = Path(deployment.docker.run("info", "--format", "{{.DockerRootDir}}")) / "volumes"
    command = ("grep", "-rlE", word, str(root))
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""
