"""`portico policy`: what would be decided, and do the rules pass their tests? Works while all is stopped."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from operations.rules.bundle import SHIPPED, build_bundle, own_sources, shipped_sources
from operations.rules.check import check_own, run_opa
from operations.setup.binaries import find_binary
from portico.contracts.messages import Decision
from portico.contracts.policy import QUESTIONS, ModelAction
from portico.errors import BadInput, Misconfigured
from portico.settings.home import Home

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Try and test the rules.")

SHARED: dict[str, Any] = {
    "actor": {"id": "person-1", "role": "member", "paired": True},
    "channel": {"name": "telegram", "account": "default", "group": False},
    "conversation": {"id": "conversation-1", "data_class": "local"},
    "context": {"now": "2026-01-01T12:00:00Z", "local_only": False, "cost_today": 0},
}
ACTIONS: dict[str, dict[str, Any]] = {
    "inbound": {"kind": "text", "admit": "paired", "addressed": True},
    "model": ModelAction(route="main", locality="local").model_dump(mode="json"),
    "egress": {
        "kind": "reply",
        "channel": "telegram",
        "account": "default",
        "conversation": "conversation-1",
        "admit": "paired",
    },
    "tool": {"tool": "time", "effects": "none", "risk": "low", "params_hash": "0" * 64},
    "admin": {"operation": "login_link.create", "role": "member", "subject": "person-1"},
}


@app.command("eval")
def evaluate(
    question: Annotated[str, typer.Argument(help=", ".join(QUESTIONS))],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="PATH=VALUE, for example actor.role=guest")
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option("--input", help="a whole input as JSON, instead of the built-in example")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the answer as JSON")] = False,
) -> None:
    """Decide about an example by the rules as they are on disk now, your own included."""
    if question not in QUESTIONS:
        raise BadInput(f"no question {question!r}; there are {', '.join(QUESTIONS)}")
    whole = _read(input_file) if input_file else {**SHARED, "action": ACTIONS[question]}
    for change in changes or []:
        whole = _changed(whole, change)
    decision = _decide(question, whole)
    if as_json:
        typer.echo(json.dumps({"input": whole, "decision": decision.model_dump(mode="json")}, indent=2))
        return
    typer.echo(f"{decision.effect.value}: {'; '.join(decision.reasons)}")
    for obligation in decision.obligations:
        typer.echo(f"obligation: {obligation.kind}")
    typer.echo(f"revision: {decision.revision}")


@app.command("test")
def test(
    as_json: Annotated[bool, typer.Option("--json", help="print the results as JSON")] = False,
) -> None:
    """Run the tests of the shipped rules, and of your own rules in PORTICO_HOME/policies."""
    opa, home = _opa(), Home.from_environment()
    own = own_sources(home)
    if own:
        check_own(opa, shipped=shipped_sources(), own=own, folder=home.policies)
    results = {"shipped": _tested(opa, [SHIPPED])}
    if own:
        # Without the shipped tests: those describe the rules before your own narrow them.
        results["own"] = _tested(opa, [*(SHIPPED / name for name in shipped_sources()), *_own_files(home)])
    failed = False
    for name, found in results.items():
        passed = sum(1 for result in found if not result.get("fail") and not result.get("error"))
        failed = failed or passed < len(found)
        if not as_json:
            _tell(name, found, passed)
    if as_json:
        typer.echo(json.dumps(results, indent=2))
    if failed:
        raise typer.Exit(1)


def _tell(name: str, found: list[dict[str, Any]], passed: int) -> None:
    if not found:
        typer.echo(f"{name}: no tests; docs/policies.md shows how to write one")
        return
    typer.echo(f"{name}: {passed} of {len(found)} passed")
    for result in found:
        if result.get("fail") or result.get("error"):
            place = result["location"]
            typer.echo(f"  failed: {place['file']}:{place['row']}: {result['name']}")


def _tested(opa: Path, paths: list[Path]) -> list[dict[str, Any]]:
    done = run_opa(opa, "test", "--format", "json", *map(str, paths))
    return list(json.loads(_output(done) or "[]") or [])


def _decide(question: str, whole: dict[str, Any]) -> Decision:
    opa, home = _opa(), Home.from_environment()
    with tempfile.TemporaryDirectory(prefix="portico-policy-") as name:
        bundle, asked = Path(name) / "bundle.tar.gz", Path(name) / "input.json"
        bundle.write_bytes(build_bundle(home, secrets.token_hex(), opa)[1])
        asked.write_text(json.dumps(whole))
        done = run_opa(
            opa, "eval", "--format", "json", "--strict-builtin-errors",
            "--bundle", str(bundle), "--input", str(asked), f"data.system.gate.answers.{question}",
        )  # fmt: skip
    answer = json.loads(_output(done))
    if "errors" in answer:
        raise BadInput(f"a rule fails on this input: {answer['errors'][0]['message']}")
    value = answer["result"][0]["expressions"][0]["value"]
    return Decision.model_validate({**value["decision"], "revision": value["revision"]})


def _output(done: subprocess.CompletedProcess[str]) -> str:
    if not done.stdout.strip().startswith(("{", "[")) and done.returncode:
        raise Misconfigured(f"OPA: {(done.stderr or done.stdout).strip()[:300]}")
    return done.stdout


def _read(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(whole, dict):
        raise BadInput(f"{path} has to hold one JSON object")
    return whole.get("input", whole) if len(whole) == 1 else whole


def _changed(whole: dict[str, Any], change: str) -> dict[str, Any]:
    path, equals, text = change.partition("=")
    group, _, name = path.partition(".")
    if not equals or not isinstance(whole.get(group), dict) or name not in whole[group]:
        known = ", ".join(f"{key}.{inner}" for key, part in whole.items() for inner in part)
        raise BadInput(f"--set {change}: use PATH=VALUE with one of {known}")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return {**whole, group: {**whole[group], name: value}}


def _own_files(home: Home) -> list[Path]:
    return sorted(home.policies.glob("*.rego"))


def _opa() -> Path:
    found = find_binary("opa") or shutil.which("opa")
    if not found:
        raise Misconfigured("OPA is not built yet; run `make setup`")
    return Path(found)
