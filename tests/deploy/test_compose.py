"""The compose deployment, for real: ready in time, TLS 1.3 only, messages in and out, scripts in their sandbox."""

from __future__ import annotations

import ssl

import httpx2
import pytest

from tests.deploy.deployment import SNI, Deployment
from tests.fakes.telegram import FakeTelegram

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
READY_WITHIN_S = 60
OTHERS_ARE_BUSY = 6.0  # its own start alone brings about half of that
PEOPLE = FakeTelegram()
"""Never started: it only writes updates as people would cause them."""


def test_it_is_ready_within_a_minute(deployment: Deployment) -> None:
    if deployment.load > OTHERS_ARE_BUSY:
        pytest.skip(f"{deployment.ready_s:.0f} s on a machine that is busy with other things")
    assert deployment.ready_s <= READY_WITHIN_S


def test_a_message_is_answered_through_tls(deployment: Deployment) -> None:
    assert deployment.answer("what is 6 * 7?", message="first") == "6 × 7 = 42"


def test_a_telegram_webhook_comes_in_and_its_reply_goes_out(deployment: Deployment) -> None:
    assert deployment.webhook(PEOPLE.text("what is 12 * 12?", chat=501)) == 200
    assert deployment.told(501) == ["12 × 12 = 144"]


def test_a_forged_webhook_is_refused(deployment: Deployment) -> None:
    assert deployment.webhook(PEOPLE.text("what is 3 * 3?", chat=502), secret="not-the-secret") == 401
    assert 502 not in deployment.seen()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2])
def test_older_tls_is_refused(deployment: Deployment, newest: ssl.TLSVersion) -> None:
    with deployment.client(newest=newest) as client, pytest.raises(httpx2.ConnectError):
        client.get("/healthz", extensions=SNI)


def test_only_caddy_is_published(deployment: Deployment) -> None:
    lines = deployment.compose("ps", "--format", "{{.Service}} {{.Ports}}").splitlines()
    assert [line.split()[0] for line in lines if "->" in line] == ["caddy"]


def test_a_script_runs_in_the_sandbox_service(deployment: Deployment) -> None:
    code = "import os, platform\nprint(os.getuid(), platform.node() != '', sum(range(101)))"
    asked = {"toolName": "script", "parameters": {"code": code}}
    done = deployment.call("POST", "/v1/invocations?wait_s=60", asked)
    assert done["status"] == "succeeded", done
    assert done["output"]["stdout"].split() == ["1000", "True", "5050"]


def test_the_history_of_a_turn_is_behind_the_door(deployment: Deployment) -> None:
    """Temporal's UI is reached through the edge alone, by whom the edge lets in."""
    with deployment.client() as client:
        refused = client.get("/temporal/", headers={"Authorization": ""}, extensions=SNI)
        assert refused.status_code in (401, 303)
