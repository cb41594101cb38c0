"""Checks the user's own rules before they go into a bundle, with OPA's own parser and compiler.

They may only narrow: packages `portico.user.<question>` with `deny` or `ask` (`model` also with `rank`), helpers
in `portico.user.lib`.
Built-ins that would reach the network, read the environment or write inputs to OPA's log are refused.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from portico.contracts.policy import QUESTIONS
from portico.errors import Misconfigured

FORBIDDEN = ("http.send", "net.lookup_ip_addr", "opa.runtime", "print", "trace")
NARROWING = {"deny", "ask"}
ORDERING = {"model": {"rank"}}
"""Rules that widen nothing, by question: the order in which allowed routes are tried."""
LIBRARY = "lib"
TIMEOUT_S = 20


def check_own(opa: Path, *, shipped: dict[str, bytes], own: dict[str, bytes], folder: Path) -> None:
    """Raises `Misconfigured` with `file:line: what is wrong`; `folder` is where the user keeps the files."""
    with tempfile.TemporaryDirectory(prefix="portico-policy-") as name:
        place = Path(name)
        _lay_out(place / "shipped", shipped)
        _lay_out(place / "own", own)
        for file in sorted(own):
            _check_package(_parse(opa, place / "own" / file, folder / file), folder / file, own[file])
        capabilities = place / "capabilities.json"
        capabilities.write_text(json.dumps(_capabilities(opa)))
        done = run_opa(
            opa, "check", "--max-errors", "0", "--format", "json", "--capabilities", str(capabilities),
            str(place / "shipped"), str(place / "own"),
        )  # fmt: skip
        if done.returncode:
            raise Misconfigured(_first_error(done, place / "own", folder))


def run_opa(opa: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the binary, in an empty environment."""
    try:
        return subprocess.run(
            [str(opa), *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={}
        )
    except subprocess.TimeoutExpired as error:
        raise Misconfigured(f"`opa {arguments[0]}` did not end within {TIMEOUT_S} s") from error


def _lay_out(place: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _parse(opa: Path, file: Path, shown: Path) -> dict[str, Any]:
    done = run_opa(opa, "parse", "--format", "json", str(file))
    if done.returncode:
        raise Misconfigured(_first_error(done, file.parent, shown.parent))
    tree: dict[str, Any] = json.loads(done.stdout)
    return tree


def _check_package(tree: dict[str, Any], shown: Path, content: bytes) -> None:
    name = ".".join(str(part["value"]) for part in tree["package"]["path"][1:])
    place = f"{shown}:{_line_of(content, b'package ')}"
    if _mentions_print(tree):
        raise Misconfigured(f"{shown}:{_line_of(content, b'print')}: print would log what people say")
    kind, _, question = name.rpartition(".")
    if name == f"portico.user.{LIBRARY}" or name.startswith(f"portico.user.{LIBRARY}."):
        return
    if kind != "portico.user" or question not in QUESTIONS:
        choices = ", ".join((*QUESTIONS, LIBRARY))
        raise Misconfigured(f"{place}: the package has to be portico.user.<one of {choices}>, not {name}")
    heads = {rule["head"].get("name") or rule["head"]["ref"][0]["value"] for rule in tree.get("rules", [])}
    if not heads & (NARROWING | ORDERING.get(question, set())):
        raise Misconfigured(f"{place}: it defines neither `deny` nor `ask`, so it would change nothing")


def _mentions_print(node: object) -> bool:
    if isinstance(node, dict):
        found = node.get("type") == "var" and node.get("value") == "print"
        return found or any(_mentions_print(value) for value in node.values())
    return isinstance(node, list) and any(_mentions_print(value) for value in node)


def _line_of(content: bytes, start: bytes) -> int:
    lines = content.splitlines()
    return next((number for number, line in enumerate(lines, 1) if start in line), 1)


def _capabilities(opa: Path) -> dict[str, Any]:
    done = run_opa(opa, "capabilities", "--current")
    if done.returncode:
        raise Misconfigured(f"{opa} cannot tell its capabilities; delete it and start again")
    known: dict[str, Any] = json.loads(done.stdout)
    known["builtins"] = [builtin for builtin in known["builtins"] if builtin["name"] not in FORBIDDEN]
    return known


def _first_error(done: subprocess.CompletedProcess[str], place: Path, folder: Path) -> str:
    try:
        errors = json.loads(done.stderr or done.stdout)["errors"]
        # A cycle is reported for every rule in it, shipped ones too; the user can fix only their own.
        error = next((one for one in errors if _is_below(place, one)), errors[0])
    except (ValueError, KeyError, IndexError):
        return f"OPA refuses the rules in {folder}: {done.stderr.strip()[:300]}"
    location = error.get("location") or {}
    file = str(location.get("file", place)).replace(str(place), str(folder))
    return f"{file}:{location.get('row', 0)}: {error['message']}"


def _is_below(place: Path, error: dict[str, Any]) -> bool:
    return str((error.get("location") or {}).get("file", "")).startswith(str(place))
