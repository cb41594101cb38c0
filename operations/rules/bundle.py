"""Makes the one bundle that OPA serves: the shipped rules, the user's own, and what the gate needs.

A bundle replaces the last one whole or not at all. Errors in a user's file are reported with file and
line, and the last good bundle stays in force: rules that narrow are not dropped for a typo in one of them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from operations.rules.check import check_own
from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.settings.home import Home

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
REVISION_DIGITS = 32
# Questions are short: on one processor, with rarer collections, a decision costs OPA a third less (measured).
OPA_ENVIRONMENT = {"GOMAXPROCS": "1", "GOGC": "200"}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk and the hash of what it says (the token's hash not included).

    `changed` is false where the same one lay there already.
    """

    path: Path
    revision: str
    changed: bool = True


@dataclass(frozen=True)
class PolicyReport:
    """Result of a check of the sources. `problem` is empty, or one line that says what to fix."""

    revision: str = ""
    problem: str = ""


def bundle_path(home: Home) -> Path:
    """OPA watches the directory, so nothing else may lie in it."""
    return home.run / "opa" / "bundle.tar.gz"


def opa_command(opa: Path, home: Home, port: int) -> list[str]:
    """How OPA is started: bundle mode (no writes by API), authentication on, no inputs in its log.

    Request lines are logged at `debug`, which `info` leaves out. The token is not here: the bundle has its
    hash.
    """
    return [
        str(opa), "run", "--server", "--addr", f"127.0.0.1:{port}",
        "--authentication=token", "--authorization=basic",
        "--bundle", "--watch", "--skip-version-check",
        "--log-format", "json", "--log-level", "info", "--log-level-request", "debug",
        str(bundle_path(home)),
    ]  # fmt: skip


def write_bundle(home: Home, token: str, opa: Path) -> Bundle:
    """Build the bundle from the sources as they are now and put it in place atomically.

    Raises `Misconfigured` (naming file and line) when one of the user's rules cannot be used.
    """
    revision, content = build_bundle(home, token, opa)
    path = bundle_path(home)
    if path.exists() and path.read_bytes() == content:
        return Bundle(path, revision, changed=False)
    # Staged outside of the watched folder, so that OPA sees one event: the whole new file.
    write_private(path, content, staging=home.run)
    return Bundle(path, revision)


def build_bundle(home: Home, token: str, opa: Path | None) -> tuple[str, bytes]:
    """The revision and the `.tar.gz`. Raises as `write_bundle` does; without OPA own rules are not checked."""
    sources = shipped_sources()
    own = own_sources(home)
    if own and opa is not None:
        check_own(opa, shipped=sources, own=own, folder=home.policies)
    sources |= {f"own/{name}": content for name, content in own.items()}
    revision = content_hash(sources)
    gate = {"token_sha256": [hashlib.sha256(token.encode()).hexdigest()]}
    made = {
        "system/release/data.json": _json({"revision": revision}),
        "system/door/data.json": _json(gate),
        ".manifest": _json({"revision": revision, "roots": [""], "rego_version": 1}),
    }
    return revision, pack(sources | made)


class PolicyWatcher:
    """Rebuilds the bundle when a source has changed. One look costs a few dozen `stat` calls.

    For the supervisor's loop: `poll` returns nothing while the rules in force are those on disk.
    """

    def __init__(self, home: Home, token: str, opa: Path) -> None:
        self._home = home
        self._token = token
        self._opa = opa
        self._seen: frozenset[tuple[str, int, int, int]] | None = None
        self._broken = False

    def poll(self) -> PolicyReport | None:
        """Look, and build if anything is new. Never raises for what a user's file contains."""
        present = self._look()
        if present == self._seen:
            return None
        try:
            bundle = write_bundle(self._home, self._token, self._opa)
        except Misconfigured as problem:
            self._seen, self._broken = present, True
            return PolicyReport(problem=f"{problem.message}; the rules in force are the last good ones")
        except FileNotFoundError:  # an editor is replacing a file at this moment: the next look sees it
            return None
        news = bundle.changed or self._broken
        self._seen, self._broken = present, False
        return PolicyReport(revision=bundle.revision) if news else None

    def _look(self) -> frozenset[tuple[str, int, int, int]]:
        found = set()
        for path in [*_shipped_paths(), *_own_paths(self._home)]:
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            found.add((str(path), state.st_mtime_ns, state.st_size, state.st_ino))
        return frozenset(found)


def shipped_sources() -> dict[str, bytes]:
    """Portico's own rules and data, without their tests."""
    return {str(path.relative_to(SHIPPED)): path.read_bytes() for path in _shipped_paths()}


def own_sources(home: Home) -> dict[str, bytes]:
    """The user's rules, without their tests."""
    return {path.name: path.read_bytes() for path in _own_paths(home)}


def content_hash(sources: dict[str, bytes]) -> str:
    """The same for the same rules, on every machine."""
    total = hashlib.sha256()
    for name, content in sorted(sources.items()):
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return total.hexdigest()[:REVISION_DIGITS]


def pack(files: dict[str, bytes]) -> bytes:
    """A `.tar.gz` that depends on nothing but the files."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _shipped_paths() -> list[Path]:
    return [*_rules(SHIPPED.glob("*/*.rego")), SHIPPED / "data.json"]


def _own_paths(home: Home) -> list[Path]:
    return _rules(home.policies.glob("*.rego"))


def _rules(found: Iterable[Path]) -> list[Path]:
    return sorted(path for path in found if not path.name.endswith("_test.rego"))


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
