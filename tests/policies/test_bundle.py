"""The bundle: what may go in, that it changes whole or not at all, and what it never holds."""

from __future__ import annotations

import gzip
import json
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from operations.rules.bundle import (
    SHIPPED,
    PolicyWatcher,
    bundle_path,
    content_hash,
    own_sources,
    pack,
    shipped_sources,
    write_bundle,
)
from portico.errors import Misconfigured
from portico.settings.home import Home
from tests.policies.opa_server import TOKEN, opa_binary

GOOD = 'package portico.user.inbound\n\ndeny contains "not today" if input.actor.id == "person-1"\n'
REFUSED = {
    "does not parse": ("package portico.user.inbound\n\ndeny contains if {\n", 3, "unexpected"),
    "unknown function": (
        "package portico.user.tool\n\ndeny if nonsense(input)\n",
        3,
        "undefined function nonsense",
    ),
    "reaches the network": ('package portico.user.tool\n\nask if http.send({"url": "x"})\n', 3, "http.send"),
    "resolves names": (
        'package portico.user.tool\n\nask if net.lookup_ip_addr("x")\n',
        3,
        "net.lookup_ip_addr",
    ),
    "reads the environment": (
        "package portico.user.tool\n\nask if opa.runtime().env.HOME\n",
        3,
        "opa.runtime",
    ),
    "logs what people say": ("package portico.user.tool\n\nask if {\n\tprint(input)\n}\n", 4, "print"),
    "a shipped package": ('package portico.inbound\n\nallow contains "me" if true\n', 1, "portico.user"),
    "the door's package": ("package system.authz\n\nallow if true\n", 1, "portico.user"),
    "a misspelt question": ("package portico.user.inbund\n\ndeny if true\n", 1, "portico.user"),
    "says nothing": (
        'package portico.user.inbound\n\nallow contains "me" if true\n',
        1,
        "neither `deny` nor `ask`",
    ),
    "goes in circles": (
        'package portico.user.tool\n\nask if data.portico.tool.decision.effect == "allow"\n',
        3,
        "recursive",
    ),
    "says two things": (
        'package portico.user.tool\n\nask := "a"\n\nask contains "b" if true\n',
        3,
        "conflict",
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    return made


@pytest.mark.parametrize("wrong", REFUSED)
def test_refuses_a_rule_of_the_users_and_names_its_line(home: Home, wrong: str) -> None:
    content, line, why = REFUSED[wrong]
    (home.policies / "mine.rego").write_text(content)
    with pytest.raises(Misconfigured) as refused:
        write_bundle(home, TOKEN, opa_binary())
    assert refused.value.message.startswith(f"{home.policies}/mine.rego:{line}: ")
    assert why in refused.value.message
    assert not bundle_path(home).exists()


def test_a_broken_rule_keeps_the_last_good_bundle(home: Home) -> None:
    (home.policies / "mine.rego").write_text(GOOD)
    watcher = PolicyWatcher(home, TOKEN, opa_binary())
    first = watcher.poll()
    assert first is not None and first.revision and not first.problem
    before = bundle_path(home).read_bytes()

    (home.policies / "mine.rego").write_text(GOOD + "deny contains {\n")
    broken = watcher.poll()
    assert broken is not None and not broken.revision
    assert f"{home.policies}/mine.rego:" in broken.problem
    assert bundle_path(home).read_bytes() == before
    assert watcher.poll() is None, "the same problem is reported once"

    (home.policies / "mine.rego").write_text(GOOD)
    mended = watcher.poll()
    assert mended is not None and mended.revision == first.revision


def test_the_watcher_sees_new_changed_and_deleted_rules(home: Home) -> None:
    watcher = PolicyWatcher(home, TOKEN, opa_binary())
    seen = [watcher.poll()]
    assert watcher.poll() is None
    for content in (GOOD, GOOD.replace("today", "now"), None):
        if content:
            (home.policies / "mine.rego").write_text(content)
        else:
            (home.policies / "mine.rego").unlink()
        seen.append(watcher.poll())
        assert watcher.poll() is None
    revisions = [report.revision for report in seen if report]
    assert len(revisions) == 4
    assert revisions[0] == revisions[3]
    assert len(set(revisions)) == 3


def test_the_same_bundle_is_not_written_again(home: Home) -> None:
    assert write_bundle(home, TOKEN, opa_binary()).changed
    before = bundle_path(home).stat()
    again = write_bundle(home, TOKEN, opa_binary())
    assert not again.changed
    assert bundle_path(home).stat().st_ino == before.st_ino
    assert PolicyWatcher(home, TOKEN, opa_binary()).poll() is None


def test_the_same_rules_make_the_same_bundle(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        home = Home(tmp_path / name)
        home.make()
        (home.policies / "mine.rego").write_text(GOOD)
        contents.append(write_bundle(home, TOKEN, opa_binary()).path.read_bytes())
    assert contents[0] == contents[1]


def test_the_revision_tells_rules_and_not_tokens(home: Home) -> None:
    one = write_bundle(home, "one", opa_binary())
    content = one.path.read_bytes()
    other = write_bundle(home, "other", opa_binary())
    assert one.revision == other.revision
    assert content != other.path.read_bytes()
    assert content_hash({"a": b"bc"}) != content_hash({"ab": b"c"})


def test_the_bundle_is_private_and_alone_and_holds_no_token(home: Home) -> None:
    path = write_bundle(home, TOKEN, opa_binary()).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert TOKEN.encode() not in gzip.decompress(path.read_bytes())


def test_the_bundle_holds_every_shipped_rule_and_no_test(home: Home) -> None:
    (home.policies / "mine.rego").write_text(GOOD)
    (home.policies / "mine_test.rego").write_text("package portico.user.inbound_test\n\ntest_x if true\n")
    bundle = write_bundle(home, TOKEN, opa_binary())
    with tarfile.open(bundle.path) as archive:
        names = set(archive.getnames())
        manifest = json.load(archive.extractfile("/.manifest"))  # type: ignore[arg-type]
    shipped = {f"/{path.relative_to(SHIPPED)}" for path in SHIPPED.rglob("*.rego")}
    tests = {name for name in shipped if name.endswith("_test.rego")}
    assert names >= shipped - tests
    assert not {name for name in names if name.endswith("_test.rego")}
    assert "/own/mine.rego" in names
    assert manifest["revision"] == bundle.revision
    assert manifest["roots"] == [""]


def test_packing_depends_on_contents_only() -> None:
    assert pack({"a": b"1", "b": b"2"}) == pack({"b": b"2", "a": b"1"})


def test_own_rules_are_found_by_their_ending(home: Home) -> None:
    (home.policies / "notes.txt").write_text("x")
    assert own_sources(home) == {}
    assert "data.json" in shipped_sources()


def test_shipped_rules_are_formatted_strict_and_covered_wholly() -> None:
    opa = str(opa_binary())
    for arguments in (
        ["fmt", "--list", "--fail"],
        ["check", "--strict"],
        ["test"],
        ["test", "--coverage", "--threshold", "100"],
    ):
        done = subprocess.run([opa, *arguments, str(SHIPPED)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])


def test_every_shipped_rule_file_has_a_test_and_a_title() -> None:
    rules = [path for path in SHIPPED.rglob("*.rego") if not path.name.endswith("_test.rego")]
    assert len(rules) >= 9
    for path in rules:
        assert path.read_text().startswith("# METADATA\n# title: "), path
        assert path.with_name(f"{path.stem}_test.rego").exists(), path
