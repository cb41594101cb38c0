"""G8: in local mode nothing leaves the machine. The whole flow passes where there is only loopback, and the
kernel has not seen a single attempt to send anything elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

CHECKOUT = Path(__file__).parents[2]
SCENE = Path(__file__).with_name("loopback_only.py")
CLONE_NEWNET = 0x40000000
DEAD_PROXY = "http://198.51.100.1:3128"
NO_RIGHT = "needs the right to make a network namespace (run the tests as root)"


def may_make_namespaces() -> bool:
    """Tried in a child, because this process stays where it is."""
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0 else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What happened on a machine without a network, with a proxy in the environment that leads nowhere."""
    if not may_make_namespaces():
        pytest.skip(NO_RIGHT)
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = dict.fromkeys((*names, *(name.upper() for name in names)), DEAD_PROXY)
    kept = {name: value for name, value in os.environ.items() if name.lower() not in (*names, "no_proxy")}
    result = tmp_path_factory.mktemp("loopback") / "told.json"
    run = subprocess.run(
        (sys.executable, str(SCENE), str(result)),
        cwd=CHECKOUT,
        env=kept | proxies | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    content: dict[str, object] = json.loads(result.read_text())
    return content


def test_there_is_nothing_but_loopback(told: dict[str, object]) -> None:
    assert told["interfaces"] == ["lo"]


def test_the_start_proves_itself(told: dict[str, object]) -> None:
    assert "391" in str(told["start"])


def test_every_door_answers(told: dict[str, object]) -> None:
    assert "42" in str(told["web"])
    assert "391" in str(told["hook"])
    assert "25" in str(told["telegram"])
    assert told["status"] == 0


def test_nothing_was_sent_anywhere_else(told: dict[str, object]) -> None:
    assert told["left_during_the_run"] == {"no_route": 0, "unreachable": 0}


def test_an_attempt_would_have_been_seen(told: dict[str, object]) -> None:
    """The same count after one connection, one datagram and one question to a name server on purpose."""
    seen = told["left_after_trying"]
    assert isinstance(seen, dict)
    assert seen["no_route"] >= 2
