"""`portico channels` as a person runs it: a home of its own, the database real, the platform scripted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.people import People
from tests.fakes.hook import SECRET, FakeReceiver
from tests.fakes.telegram import FakeTelegram

Portico = Callable[..., subprocess.CompletedProcess[str]]
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def portico(tmp_path: Path) -> Portico:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    environment["PORTICO_HOME"] = str(tmp_path)

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "entrypoints.cli.main", "channels", *arguments],
            input=given, capture_output=True, text=True, cwd=CHECKOUT, env=environment, timeout=60,
        )  # fmt: skip

    return run


def test_a_wrong_token_is_one_clear_line_and_stores_nothing(portico: Portico, tmp_path: Path) -> None:
    with FakeTelegram() as telegram:
        for token in ("1:not-this-one", "hello", ""):
            done = portico("add", "telegram", "--api-base", telegram.url, given=f"{token}\n")
            assert done.returncode == 1
            assert len(done.stderr.strip().splitlines()) == 1
            assert "token" in done.stderr
            assert "not-this-one" not in done.stderr
    assert not (tmp_path / "portico.toml").exists()


def test_a_platform_that_is_away_is_one_clear_line(portico: Portico) -> None:
    done = portico("add", "telegram", "--api-base", "http://127.0.0.1:9", given="1:abc\n")
    assert (done.returncode, done.stderr.strip()) == (1, "portico: Telegram is unavailable: ConnectError")


def test_unknown_names_are_refused(portico: Portico) -> None:
    for arguments in (
        ("add", "icq"),
        ("add", "hook"),
        ("test", "icq"),
        ("test", "telegram"),
        ("test", "web/kiosk"),
    ):
        done = portico(*arguments)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_bot_is_added_checked_and_listed_and_its_link_pairs_the_owner(
    portico: Portico, tmp_path: Path
) -> None:
    (tmp_path / "portico.toml").write_text("# my settings\nport = 0\n")
    with FakeTelegram() as telegram:
        done = portico("add", "telegram", "--api-base", telegram.url, given=f"{telegram.token}\n")
        assert done.returncode == 0, done.stderr
        tried = portico("test", "telegram")
        assert tried.stdout.strip() == f"telegram/default: the platform knows it as @{telegram.username}"
        telegram.token = "1:changed"
        assert portico("test", "telegram").returncode == 1
    settings = (tmp_path / "portico.toml").read_text()
    assert settings.startswith("# my settings\nport = 0\n")
    assert 'token = "secret:telegram-default-token"' in settings
    listed = json.loads(portico("list", "--json").stdout)
    assert {(row["channel"], row["account"]) for row in listed} == {
        ("telegram", "default"), ("web", "default"), ("hook", ""),
    }  # fmt: skip
    found = re.search(r"https://t\.me/portico_test_bot\?start=([A-Za-z0-9_-]{1,64})\n", done.stdout)
    assert found is not None
    assert asyncio.run(redeemed(Home(tmp_path), found.group(1))) == "owner"
    assert not any(
        b"fake-token-of-the-tests" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


async def redeemed(home: Home, token: str) -> str:
    keyring = open_keyring(home)
    database = Database.open(home, keyring)
    try:
        actor = await People(database, keyring).redeem_owner_link(
            token, "telegram", "default", "501", "Ada", now=time.time()
        )
    finally:
        database.close()
    assert actor is not None
    return actor.role


def test_a_hook_is_tried_with_a_signed_ping(portico: Portico, tmp_path: Path) -> None:
    with FakeReceiver() as receiver:
        (tmp_path / "secret").write_text(SECRET)
        (tmp_path / "portico.toml").write_text(
            f'[channels.hook.shop]\nsecret = "file:{tmp_path}/secret"\nreply_url = "{receiver.reply_url}"\n'
        )
        done = portico("test", "hook/shop")
        assert done.returncode == 0, done.stderr
        (post,) = receiver.posts
        assert (post.verified, post.body["type"]) == (True, "ping")
        receiver.secret = "whsec_" + "B" * 32
        refused = portico("test", "hook/shop")
        assert (refused.returncode, "status 401" in refused.stderr) == (1, True)
