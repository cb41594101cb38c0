"""What is taken for a `callbackUrl` at the door, and the signature of what is posted there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from portico.contracts.messages import ExecutionResult, ExecutionStatus
from portico.crypto.keyring import open_keyring
from portico.errors import BadInput
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.secrets import SecretStore
from portico.tools.callbacks import callback_body, callback_headers, callback_secret, check_callback_url

OPEN = Settings.model_validate({"local_only": False, "tools": {"callback_hosts": ["10.0.0.5:8000", "::1"]}})
LOCAL = Settings.model_validate({"tools": {"callback_hosts": ["hooks.example.com", "127.0.0.1:9000"]}})

NO_URL = [
    "",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "unix:///run/x.sock",
    "//example.com/x",
    "http:example.com",
    "http://",
    "http:///x",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://@example.com/",
    "https://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "https://example.com/#fragment",
    "https://example.com/a b",
    "https://example.com/\r\nHost: inner",
    "https://exam\tple.com/",
    "https://example.com:99999/",
    "https://example.com:0/",
    "https://example.com:x/",
    "https://exämple.com/",
    "https://１２７.0.0.1/",
    "https://example..com/",
    "https://-example.com/",
    "https://[::1",
    "https://[::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://example.com/" + "a" * 2048,
]
OTHER_FORMS = [
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://0x7f.1/",
    "http://127.0.0.1./",
    "http://017700000001/",
    "http://example.com.0x1/",
    "http://1.2.3.4.5/",
    "http://00000000127.0.0.1/",
]
INNER = [
    "http://localhost/",
    "http://LOCALHOST:8000/",
    "http://x.localhost./",
    "http://127.0.0.1/",
    "http://127.8.8.8:9000/",
    "http://0.0.0.0/",
    "http://10.0.0.5/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[2002:7f00:1::]/",
]


@pytest.mark.parametrize("url", NO_URL)
@pytest.mark.parametrize("settings", [OPEN, LOCAL], ids=["open", "local"])
def test_refuses_what_is_no_plain_web_address(url: str, settings: Settings) -> None:
    with pytest.raises(BadInput, match="callbackUrl: "):
        check_callback_url(url, settings)


@pytest.mark.parametrize("url", OTHER_FORMS)
def test_refuses_addresses_that_are_written_in_another_form(url: str) -> None:
    with pytest.raises(BadInput, match="neither a name nor an address"):
        check_callback_url(url, OPEN)


@pytest.mark.parametrize("url", INNER)
def test_refuses_inner_addresses_that_no_setting_names(url: str) -> None:
    with pytest.raises(BadInput, match="not in the public internet"):
        check_callback_url(url, OPEN)


def test_takes_public_places_and_what_the_settings_name() -> None:
    assert check_callback_url("https://Hooks.Example.com:8443/a?b=c", OPEN).port == 8443
    assert not check_callback_url("http://8.8.8.8/x", OPEN).named
    assert check_callback_url("http://10.0.0.5:8000/", OPEN).named
    assert check_callback_url("http://[::1]:1234/", OPEN).named
    assert check_callback_url("https://hooks.example.com/x", LOCAL).named
    assert check_callback_url("http://127.0.0.1:9000/x", LOCAL).named


@pytest.mark.parametrize(
    "url", ["https://example.com/", "http://127.0.0.1:9001/", "http://hooks.example.com.evil.org/"]
)
def test_in_local_mode_says_which_setting_would_allow_it(url: str) -> None:
    with pytest.raises(BadInput, match=r"local_only.*\[tools\] callback_hosts"):
        check_callback_url(url, LOCAL)


def test_the_post_is_camel_case_and_verifies() -> None:
    ended = datetime(2026, 11, 22, 12, tzinfo=UTC)
    result = ExecutionResult(
        invocation_id="tool-1",
        tool_name="calculator",
        status=ExecutionStatus.SUCCEEDED,
        output={"text": "391 €"},
        started_at=ended,
        ended_at=ended,
    )
    body = callback_body(result)
    event = json.loads(body)
    assert event["type"] == "invocation.ended"
    assert event["timestamp"] == ended.isoformat()
    assert event["data"]["invocationId"] == "tool-1"
    assert event["data"]["status"] == "succeeded"
    assert event["data"]["output"] == {"text": "391 €"}
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
    headers = callback_headers(secret, webhook_id="tool-1", body=body)
    Webhook(secret).verify(body, headers)
    assert headers["webhook-id"] == "tool-1"


async def test_the_secret_is_made_once_and_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    first, second = (Database.open(home, open_keyring(home, bytes(32))) for _ in range(2))
    try:
        made = await callback_secret(SecretStore(first))
        assert made.startswith("whsec_")
        assert await callback_secret(SecretStore(second)) == made
        await SecretStore(first).set("callbacks", "whsec_b3du")
        assert await callback_secret(SecretStore(second)) == "whsec_b3du"
    finally:
        first.close()
        second.close()
