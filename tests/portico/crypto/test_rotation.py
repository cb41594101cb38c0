from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portico.crypto import keyring as keyrings
from portico.crypto.holders import KeyringFollower, holders
from portico.crypto.keyring import (
    CURRENT,
    KNOWN,
    Keyring,
    WrongMasterKey,
    load_master_key,
    open_keyring,
    unwrapped,
)
from portico.crypto.rotation import (
    StoredKeyring,
    announce_key,
    begin_master_rotation,
    end_master_rotation,
    list_keys,
    make_current,
    opens_next_wrap,
    replace_master_file,
    rotation_lock,
    stored_in,
)
from portico.errors import Misconfigured
from portico.settings.home import Home
from tests.support import CHECKOUT, until

MASTER = bytes(range(32))
KILLED = """
import os, signal, sys
from pathlib import Path
from portico.crypto import rotation
from portico.crypto.keyring import read_master_key

steps = int(sys.argv[2])

def counted(function):
    def call(*arguments, **options):
        global steps
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
        return function(*arguments, **options)
    return call

rotation.write_private = counted(rotation.write_private)
os.pwrite = counted(os.pwrite)
os.fsync = counted(os.fsync)
Path.unlink = counted(Path.unlink)
folder = Path(sys.argv[1])
stored = rotation.StoredKeyring(folder / "keyring.json", folder / "master_key", in_place=sys.argv[4] == "in_place")
rotation.finish_writing(stored.master_key)
master = read_master_key(stored.master_key)
if sys.argv[3] == "master":
    new = rotation.begin_master_rotation(stored, current=master, new=bytes(32))
    rotation.replace_master_file(stored)
    rotation.end_master_rotation(stored, master=new)
else:
    rotation.make_current(stored, rotation.announce_key(stored, sys.argv[3], master=master).id)
"""


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTICO_MASTER_KEY", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    open_keyring(home)
    return home


@pytest.fixture
def deployed(tmp_path: Path) -> StoredKeyring:
    """A deployment's secrets: read-only files that are mounted one by one."""
    made = Home(tmp_path / "made")
    open_keyring(made, MASTER)
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "keyring.json").write_bytes(made.keyring.read_bytes())
    (folder / "master_key").write_bytes(base64.b64encode(MASTER) + b"\n")
    for path in folder.iterdir():
        path.chmod(0o444)
    return StoredKeyring(folder / "keyring.json", folder / "master_key", in_place=True)


def announce(home: Home, purpose: str = "payload") -> str:
    return announce_key(stored_in(home), purpose, master=load_master_key(home)).id


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        ("id", "names of conversations"),
        ("index", "search tokens"),
        ("database", "PRAGMA rekey"),
        ("x", "no key"),
    ],
)
def test_a_key_that_is_made_once_is_refused_with_its_reason(home: Home, purpose: str, reason: str) -> None:
    before = home.keyring.read_bytes()
    with pytest.raises(Misconfigured, match=reason):
        announce(home, purpose)
    assert home.keyring.read_bytes() == before


def test_only_one_rotation_works_on_a_keyring(home: Home) -> None:
    with (
        rotation_lock(home.root),
        pytest.raises(Misconfigured, match="another rotation"),
        rotation_lock(home.root),
    ):
        pass
    with rotation_lock(home.root, shared=True), rotation_lock(home.root, shared=True):
        pass


def test_a_wrong_master_key_adds_nothing(home: Home) -> None:
    before = home.keyring.read_bytes()
    with pytest.raises(WrongMasterKey):
        announce_key(stored_in(home), "payload", master=bytes(32))
    assert home.keyring.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"keys": [1]}', b'{"keys": []}'])
def test_a_damaged_keyring_is_one_line_and_stays(home: Home, content: bytes) -> None:
    home.keyring.write_bytes(content)
    with pytest.raises(Misconfigured, match="damaged"):
        announce(home)
    assert home.keyring.read_bytes() == content


def test_a_keyring_that_cannot_be_written_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("portico.crypto.rotation.write_private", read_only)
    with pytest.raises(Misconfigured, match=r"cannot be written \(Read-only file system\)"):
        announce(home)


def test_a_mounted_keyring_is_rotated_where_its_secrets_are(home: Home, tmp_path: Path) -> None:
    home.keyring.rename(tmp_path / "mounted.json")
    home.keyring.symlink_to(tmp_path / "mounted.json")
    with pytest.raises(Misconfigured, match="--folder"):
        stored_in(home)


def test_a_file_of_another_portico_does_not_replace_the_keys_of_a_process(home: Home, tmp_path: Path) -> None:
    keyring = open_keyring(home)
    before = keyring.keys()
    other = Home(tmp_path / "other")
    open_keyring(other, load_master_key(home))
    os.replace(other.keyring, home.keyring)
    keyring.refresh()
    assert keyring.keys() == before


def test_a_file_that_becomes_unreadable_changes_nothing_in_a_process(home: Home) -> None:
    keyring = open_keyring(home)
    before, whole = keyring.keys(), home.keyring.read_bytes()
    home.keyring.write_bytes(whole[:100])
    keyring.refresh()
    with pytest.raises(KeyError):
        keyring.by_id("p000000000000")
    assert keyring.keys() == before


# --- data keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["payload", "blob", "live", "seal"])
def test_a_new_key_is_known_first_and_encrypts_later(home: Home, purpose: str) -> None:
    running = open_keyring(home)
    first = running.current(purpose)
    key_id = announce(home, purpose)
    running.refresh()
    assert running.current(purpose) == first
    known = running.by_id(key_id)
    make_current(stored_in(home), key_id)
    running.refresh()
    assert running.current(purpose) == known
    assert running.by_id(first.id) == first
    assert open_keyring(home).current(purpose) == known


def test_a_stopped_rotation_goes_on_with_the_key_that_it_announced(home: Home) -> None:
    assert announce(home) == announce(home)
    assert [key.state for key in list_keys(home.keyring) if key.purpose == "payload"] == [KNOWN, CURRENT]


def test_an_older_version_chooses_the_same_current_key(home: Home) -> None:
    """Versions before read id, purpose and wrapped alone, and encrypt with the last key of a purpose."""

    def chosen() -> str:
        entries = json.loads(home.keyring.read_text())["keys"]
        return str({entry["purpose"]: entry["id"] for entry in entries}["payload"])

    for _ in range(3):
        before = open_keyring(home).current("payload").id
        key_id = announce(home)
        assert chosen() == before
        make_current(stored_in(home), key_id)
        assert chosen() == key_id == open_keyring(home).current("payload").id
    assert json.loads(home.keyring.read_text())["version"] == 1


def test_a_file_of_the_version_before_opens_and_rotates(home: Home) -> None:
    content = json.loads(home.keyring.read_text())
    for entry in content["keys"]:
        del entry["state"], entry["made_at"]
    content["keys"].append({**content["keys"][0]})
    home.keyring.write_text(json.dumps(content))
    before = open_keyring(home).current("payload")
    make_current(stored_in(home), announce(home))
    assert open_keyring(home).current("payload") != before
    assert open_keyring(home).by_id(before.id) == before


def test_a_process_reads_its_keyring_at_once_for_an_unknown_id(home: Home) -> None:
    running = open_keyring(home)
    running._read_at -= keyrings.UNKNOWN_KEY_S + 1
    key_id = announce(home)
    assert running.by_id(key_id).purpose == "payload"


def test_forged_ids_do_not_make_a_process_read_all_the_time(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = open_keyring(home)
    running._read_at -= keyrings.UNKNOWN_KEY_S + 1
    reads = []
    monkeypatch.setattr(keyrings, "unwrapped", lambda *_: reads.append(1) or unwrapped(*_))
    for number in range(100):
        with pytest.raises(KeyError):
            running.by_id(f"forged{number}")
    assert len(reads) == 1


def test_a_process_follows_before_it_encrypts(home: Home) -> None:
    running = open_keyring(home)
    key_id = announce(home)
    make_current(stored_in(home), key_id)
    running._checked_at -= keyrings.RELOAD_S + 1
    assert running.current("payload").id == key_id


def test_a_keyring_behind_a_swapped_link_is_followed(home: Home, tmp_path: Path) -> None:
    """As the kubelet changes a mounted secret: keyring.json → ..data/keyring.json, and ..data is swapped."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    home.keyring.rename(first / "keyring.json")
    (tmp_path / "..data").symlink_to(first)
    home.keyring.symlink_to(tmp_path / "..data" / "keyring.json")
    running = open_keyring(home)
    second.mkdir()
    (second / "keyring.json").write_bytes((first / "keyring.json").read_bytes())
    key_id = announce_key(
        StoredKeyring(second / "keyring.json", None), "blob", master=load_master_key(home)
    ).id
    (tmp_path / "..next").symlink_to(second)
    os.replace(tmp_path / "..next", tmp_path / "..data")
    running.refresh()
    assert running.by_id(key_id).purpose == "blob"


def test_a_deployments_file_is_written_in_place(deployed: StoredKeyring) -> None:
    """A file that is mounted alone does not follow a rename: its inode has to stay."""
    inode = deployed.keyring.stat().st_ino
    key_id = announce_key(deployed, "payload", master=MASTER).id
    make_current(deployed, key_id)
    assert deployed.keyring.stat().st_ino == inode
    assert deployed.keyring.stat().st_mode & 0o777 == 0o444
    assert Keyring(unwrapped(deployed.keyring, MASTER).keys).by_id(key_id)
    assert sorted(path.name for path in deployed.keyring.parent.iterdir()) == ["keyring.json", "master_key"]


def test_a_process_records_what_it_holds_until_it_ends(home: Home) -> None:
    keyring = open_keyring(home)
    follower = KeyringFollower(home, keyring, part="worker")
    follower.start()
    assert [(holder.part, holder.pid) for holder in holders(home)] == [("worker", os.getpid())]
    key_id = announce(home)
    until(lambda: key_id in holders(home)[0].key_ids, timeout_s=20)
    follower.close()
    assert holders(home) == []


def test_the_record_of_a_process_that_is_gone_does_not_count(home: Home) -> None:
    KeyringFollower(home, open_keyring(home), part="api").start()
    (path,) = (home.run / "keyring").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": "1"}))
    assert holders(home) == []
    assert not path.exists()


# --- killed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["in_place", "renamed"])
@pytest.mark.parametrize("purpose", ["payload", "master"])
def test_a_rotation_that_is_killed_at_any_write_is_resumed(
    deployed: StoredKeyring, purpose: str, how: str
) -> None:
    """SIGKILL before each write, sync and removal in turn; afterwards every key opens and the command goes on."""
    secrets_before = {key.secret for key in unwrapped(deployed.keyring, MASTER).keys}
    deployed.keyring.parent.chmod(0o700)
    for steps in range(100):
        done = _run_killed(deployed.keyring.parent, steps, purpose, how)
        if done == 0:
            break
        assert done == -signal.SIGKILL
        _opens_all(deployed, secrets_before)
    else:
        pytest.fail("it never ended")
    assert steps >= 4
    _opens_all(deployed, secrets_before)
    states = [key.state for key in list_keys(deployed.keyring) if key.purpose == "payload"]
    assert states.count(CURRENT) == 1
    if purpose == "master":
        assert len(list_keys(deployed.keyring)) == len(secrets_before)
        with pytest.raises(WrongMasterKey):
            unwrapped(deployed.keyring, MASTER)


def _run_killed(folder: Path, steps: int, purpose: str, how: str) -> int:
    command = (sys.executable, "-c", KILLED, str(folder), str(steps), purpose, how)
    return subprocess.run(command, cwd=CHECKOUT, check=False, timeout=60).returncode


def _opens_all(deployed: StoredKeyring, secrets: set[bytes]) -> None:
    """With the master key that the file holds, as a process that starts now would read it."""
    assert deployed.master_key is not None
    master = base64.b64decode(deployed.master_key.read_bytes())
    assert secrets <= {key.secret for key in unwrapped(deployed.keyring, master).keys}


# --- master key ----------------------------------------------------------------------------------------


def test_both_master_keys_open_the_keyring_until_the_end(deployed: StoredKeyring) -> None:
    keys = unwrapped(deployed.keyring, MASTER).keys
    new = begin_master_rotation(deployed, current=MASTER, new=bytes(32))
    assert unwrapped(deployed.keyring, MASTER).keys == unwrapped(deployed.keyring, new).keys == keys
    assert opens_next_wrap(deployed.keyring, new) is True
    assert opens_next_wrap(deployed.keyring, MASTER) is False
    replace_master_file(deployed, keep_as=deployed.keyring.with_name("kept"))
    assert base64.b64decode(deployed.keyring.with_name("kept").read_bytes()) == MASTER
    with pytest.raises(WrongMasterKey):
        end_master_rotation(deployed, master=MASTER)
    assert end_master_rotation(deployed, master=new)
    assert unwrapped(deployed.keyring, new).keys == keys
    assert opens_next_wrap(deployed.keyring, new) is None


def test_a_process_follows_through_a_rotation_of_the_master_key(home: Home) -> None:
    running, stored = open_keyring(home), stored_in(home)
    new = begin_master_rotation(stored, current=load_master_key(home), new=bytes(32))
    replace_master_file(stored)
    end_master_rotation(stored, master=new)
    key_id = announce(home)
    running.refresh()
    assert running.by_id(key_id).purpose == "payload"


def test_ages_survive_a_rotation_of_the_master_key(home: Home) -> None:
    content = json.loads(home.keyring.read_text())
    for entry in content["keys"]:
        entry["made_at"] = 1_000_000_000
    home.keyring.write_text(json.dumps(content))
    stored = stored_in(home)
    new = begin_master_rotation(stored, current=load_master_key(home), new=bytes(32))
    end_master_rotation(stored, master=new)
    assert {key.made_at for key in list_keys(home.keyring)} == {1_000_000_000}
    assert json.loads(home.keyring.read_text())["keys"][0]["wrapped_at"] > time.time() - 60
