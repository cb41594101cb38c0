from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import channels
from channels.base import Connects, Fetches, Listener, Marks, Shows
from channels.registry import CHANNELS, Accounts, accounts, descriptor, load
from portico.errors import Misconfigured, NotFound
from portico.settings.settings import Settings
from tests.fakes.hook import SECRET

TOKEN = "7001:abc"


def configured(
    tables: dict[str, dict[str, dict[str, Any]]], values: dict[str, str] | None = None
) -> Accounts:
    known = {"secret:token": TOKEN, "secret:hook": SECRET, **(values or {})}

    def resolve(reference: str) -> str:
        try:
            return known[reference]
        except KeyError:
            raise Misconfigured(f"{reference} is not set; portico secrets set {reference}") from None

    return accounts(Settings(channels=tables), resolve)


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        (
            {"telegramm": {"default": {}}},
            "channels.telegramm: no such channel; there are telegram, hook, web",
        ),
        ({"telegram": {"default": {}}}, "channels.telegram.default.token: is missing"),
        (
            {"telegram": {"default": {"token": "secret:token", "tokken": 1}}},
            "channels.telegram.default.tokken: unknown key",
        ),
        (
            {"telegram": {"default": {"token": "secret:other"}}},
            "channels.telegram.default.token: secret:other is not set; portico secrets set secret:other",
        ),
        (
            {"telegram": {"default": {"token": "hello"}}},
            "channels.telegram.default.token: not a bot token (digits, a colon, letters)",
        ),
        (
            {"telegram": {"default": {"token": "secret:token", "secret": "a b"}}},
            "channels.telegram.default.secret: 1 to 256 characters of A-Z a-z 0-9 _ -",
        ),
        ({"hook": {"x": {"secret": "whsec_AAAA"}}}, "channels.hook.x.secret: shorter than 16 bytes"),
        ({"hook": {"x": {"secret": "whsec_é"}}}, "channels.hook.x.secret: not whsec_ and base64"),
        (
            {"hook": {"x": {"secret": "secret:hook", "reply_url": "ftp://x"}}},
            "channels.hook.x.reply_url: a URL that begins with https:// or http://",
        ),
        (
            {"hook": {"A b": {"secret": "secret:hook"}}},
            "channels.hook.A b: an account's name is made of a-z 0-9 _ - and has at most 32 of them",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(tables: dict[str, Any], line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        configured(tables)
    assert caught.value.message == line


def test_all_mistakes_are_told_at_once_and_no_secret_with_them() -> None:
    with pytest.raises(Misconfigured) as caught:
        configured({"telegram": {"a": {"token": "hushhush"}, "b": {"burst": 0}}, "x": {"y": {}}})
    assert len(caught.value.message.splitlines()) == 4
    assert "hushhush" not in caught.value.message


def test_a_literal_secret_works_and_is_told_how_to_move() -> None:
    with capture_logs() as logs:
        account = configured({"telegram": {"default": {"token": TOKEN}}}).get("telegram")
    assert account.settings.token.get_secret_value() == TOKEN
    (line,) = logs
    assert line["move_it_with"] == "portico secrets set telegram-default-token"
    assert TOKEN not in str(line)


def test_a_reference_is_resolved_and_never_shown() -> None:
    with capture_logs() as logs:
        account = configured({"telegram": {"default": {"token": "secret:token"}}}).get("telegram")
    assert account.settings.token.get_secret_value() == TOKEN
    assert logs == []
    assert TOKEN not in repr(account)


def test_configured_addresses_are_allowed_and_no_others() -> None:
    table = {"token": "secret:token", "api_base": "http://127.0.0.1:9000/"}
    network = configured({"telegram": {"default": table}}).get("telegram").network
    assert network.allows("127.0.0.1", 9000)
    assert not network.allows("127.0.0.1", 9001)


def test_the_web_is_always_there() -> None:
    assert configured({}).get("web").name == "default"
    assert [account.name for account in configured({"web": {"kiosk": {}}}).of("web")] == ["default", "kiosk"]


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        configured({}).get("telegram")
    with pytest.raises(NotFound):
        load("icq")


def test_every_channel_loads_and_no_module_is_left_out() -> None:
    for one in CHANNELS:
        assert load(one.name) is load(one.name)
        assert descriptor(one.name) is one
        assert isinstance(load(one.name), Listener) == one.listens
    here = Path(channels.__file__).parent
    declaring = [path for path in here.rglob("*.py") if "\nCHANNEL = " in path.read_text()]
    assert len(declaring) == len(CHANNELS)


def test_telegram_keeps_the_optional_protocols() -> None:
    for protocol in (Marks, Fetches, Listener, Shows, Connects):
        assert isinstance(load("telegram"), protocol)


def test_listing_the_channels_loads_no_library_of_a_platform() -> None:
    code = "import sys, channels.registry; print({'standardwebhooks', 'markdown_it'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
