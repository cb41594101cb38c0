from __future__ import annotations

import base64
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from portico.crypto import rotation
from portico.crypto.keyring import PURPOSES, DataKey, WrongMasterKey, load_master_key, open_keyring
from portico.crypto.sealing import seal, seal_public_key, unseal
from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.settings.home import Home
from tests.portico.crypto.rotated import add_data_key, rotate_master_key

KEY = DataKey(id="p1", purpose="payload", secret=bytes(range(32)))
OTHER = DataKey(id="p2", purpose="payload", secret=bytes(32))
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTICO_MASTER_KEY", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [b"", b"x", bytes(11), bytes(28), bytes(1000)])
def test_bytes_that_were_never_encrypted_do_not_open(wrong: bytes) -> None:
    with pytest.raises((InvalidTag, ValueError)):
        KEY.decrypt(wrong)


@given(plain=st.binary(max_size=200), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_single_changed_bit_does_not_open(plain: bytes, at: int, bit: int) -> None:
    sealed = bytearray(KEY.encrypt(plain, context=b"c"))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(InvalidTag):
        KEY.decrypt(bytes(sealed), context=b"c")


def test_another_key_or_context_does_not_open() -> None:
    sealed = KEY.encrypt(b"plain", context=b"here")
    for key, context in ((OTHER, b"here"), (KEY, b"there"), (KEY, b"")):
        with pytest.raises(InvalidTag):
            key.decrypt(sealed, context=context)


def test_a_wrong_master_key_is_one_clear_line_and_changes_nothing(home: Home) -> None:
    open_keyring(home, bytes(32))
    before = home.keyring.read_bytes()
    with pytest.raises(WrongMasterKey, match=r"does not open .*keyring\.json"):
        open_keyring(home, bytes([1]) * 32)
    assert home.keyring.read_bytes() == before


@pytest.mark.parametrize("given", ["short", "!!!", encoded(bytes(31)), encoded(bytes(33))])
def test_a_master_key_of_a_wrong_form_is_refused(
    home: Home, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_MASTER_KEY", given)
    with pytest.raises(Misconfigured, match="PORTICO_MASTER_KEY does not hold a master key"):
        open_keyring(home)


def test_a_lost_master_key_is_said_and_not_replaced(home: Home) -> None:
    open_keyring(home)
    home.master_key.unlink()
    with pytest.raises(Misconfigured, match=r"master\.key is missing"):
        open_keyring(home)
    assert not home.master_key.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"keys": [{}]}', b'{"keys": [{"id": "x", "purpose": "y", "wrapped": "!"}]}'],
)
def test_a_damaged_keyring_is_said(home: Home, content: bytes) -> None:
    open_keyring(home)
    home.keyring.write_bytes(content)
    with pytest.raises(Misconfigured, match="damaged"):
        open_keyring(home)


def test_a_key_cannot_be_passed_off_as_one_for_something_else(home: Home) -> None:
    open_keyring(home, bytes(32))
    content = json.loads(home.keyring.read_text())
    content["keys"][0]["purpose"] = "live"
    home.keyring.write_text(json.dumps(content))
    with pytest.raises(Misconfigured):
        open_keyring(home, bytes(32))


@pytest.mark.parametrize("purpose", ["id", "index", "database", "nonsense"])
def test_keys_that_others_are_made_from_are_not_added(home: Home, purpose: str) -> None:
    open_keyring(home)
    with pytest.raises(Misconfigured, match="never rotated"):
        add_data_key(home, purpose)


# --- what works ---------------------------------------------------------------------------------------


@given(plain=st.binary(), context=st.binary())
def test_what_was_encrypted_comes_back(plain: bytes, context: bytes) -> None:
    sealed = KEY.encrypt(plain, context=context)
    assert KEY.decrypt(sealed, context=context) == plain
    assert sealed != KEY.encrypt(plain, context=context)


def test_a_keyring_is_made_once_for_every_purpose(home: Home) -> None:
    first, second = open_keyring(home), open_keyring(home)
    made = first.keys()
    assert {key.purpose for key in made} == set(PURPOSES)
    assert first.keys() == second.keys()
    assert len({key.secret for key in made}) == len(PURPOSES)
    for path in (home.master_key, home.keyring):
        assert path.stat().st_mode & 0o077 == 0
    assert all(key.secret not in home.keyring.read_bytes() for key in made)


def _open(root: Path, results: multiprocessing.Queue[str]) -> None:
    results.put(open_keyring(Home(root)).current("id").secret.hex())


def test_processes_that_start_at_once_have_the_same_keys(home: Home) -> None:
    results = SPAWN.Queue()
    processes = [SPAWN.Process(target=_open, args=(home.root, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert len({results.get(timeout=60) for _ in processes}) == 1
    for process in processes:
        process.join()


def test_a_new_master_key_opens_the_same_keys(home: Home) -> None:
    before = open_keyring(home).keys()
    old = load_master_key(home)
    rotate_master_key(home, new=os.urandom(32))
    assert open_keyring(home).keys() == before
    with pytest.raises(WrongMasterKey):
        open_keyring(home, old)
    assert home.master_key.stat().st_mode & 0o077 == 0
    assert not list(home.root.glob("*.next"))


@pytest.mark.parametrize("writes", range(5))
def test_a_rotation_that_is_stopped_anywhere_loses_nothing(
    home: Home, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_keyring(home).keys()
    done = 0

    def stopping(path: Path, content: bytes, **options: Any) -> None:
        nonlocal done
        if done >= writes:
            raise KeyboardInterrupt
        done += 1
        write_private(path, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "write_private", stopping)
        if writes < 4:
            with pytest.raises(KeyboardInterrupt):
                rotate_master_key(home, new=os.urandom(32))
        else:
            rotate_master_key(home, new=os.urandom(32))
    assert open_keyring(home).keys() == before
    assert open_keyring(home).keys() == before


def test_a_master_key_in_the_environment_leaves_no_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    new = os.urandom(32)
    monkeypatch.setenv("PORTICO_MASTER_KEY", encoded(bytes(32)))
    before = open_keyring(home).keys()
    rotate_master_key(home, new=new)
    monkeypatch.setenv("PORTICO_MASTER_KEY", encoded(new))
    assert open_keyring(home).keys() == before
    assert not home.master_key.exists()


def test_an_added_key_encrypts_and_the_older_goes_on_decrypting(home: Home) -> None:
    first = open_keyring(home).current("payload")
    sealed = first.encrypt(b"old")
    add_data_key(home, "payload")
    keyring = open_keyring(home)
    assert keyring.current("payload").id != first.id
    assert keyring.by_id(first.id).decrypt(sealed) == b"old"
    assert keyring.current("id") == open_keyring(home).current("id")


def test_an_exclusive_write_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"first", exclusive=True)
    write_private(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first"
    write_private(path, b"third")
    assert path.read_bytes() == b"third"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_who_seals_cannot_read(home: Home) -> None:
    keyring = open_keyring(home)
    key_id, public = seal_public_key(keyring)
    sealed = seal(public, b"plain", context=b"c")
    assert unseal(keyring.by_id(key_id), sealed, context=b"c") == b"plain"
    with pytest.raises(InvalidTag):
        unseal(keyring.by_id(key_id), sealed, context=b"d")
    with pytest.raises(InvalidTag):
        unseal(DataKey("s", "seal", bytes(32)), sealed, context=b"c")
    with pytest.raises((InvalidTag, ValueError)):
        unseal(keyring.by_id(key_id), sealed[:20], context=b"c")
