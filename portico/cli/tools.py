"""`portico tools`: what the tools are, and running one through the gateway, with its policy and record."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from activities.tools import TOOLS
from portico.cli.edge import call
from portico.cli.output import print_json, print_table
from portico.errors import BadInput
from portico.tool import ToolSpec

app = typer.Typer(no_args_is_help=True, help="what the gateway can do", add_completion=False)

WAIT_S = 60
POLL_S = 1.0


@app.command("list")
def list_tools(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Every tool with its parameters, its effects and its risk."""
    if as_json:
        print_json([_as_json(spec) for spec in TOOLS])
        return
    rows = [
        (f"{spec.name}({', '.join(_properties(spec))})", spec.effects, spec.risk, spec.description)
        for spec in TOOLS
    ]
    print_table([("tool", "effects", "risk", "what it does"), *rows], empty="there are no tools")


@app.command("run")
def run_tool(
    name: Annotated[str, typer.Argument(help="as `portico tools list` shows it")],
    parameters: Annotated[
        list[str] | None, typer.Argument(help="NAME=VALUE …", metavar="[NAME=VALUE]...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole result as JSON")] = False,
) -> None:
    """Run a tool through the running gateway: the rules decide, and the history keeps it."""
    invocation = {"toolName": name, "parameters": read_parameters(name, parameters or [])}
    result = call("POST", "/v1/invocations", body=invocation, params={"wait_s": WAIT_S})
    while result["status"] == "running":
        time.sleep(POLL_S)
        result = call("GET", f"/v1/invocations/{result['invocationId']}")
    if as_json:
        print_json(result)
    elif result["status"] == "succeeded":
        typer.echo(_text(result["output"]))
    else:
        error = result.get("error") or {}
        typer.echo(f"{name}: {result['status']}: {error.get('message', error.get('code', ''))}", err=True)
    if result["status"] != "succeeded":
        raise typer.Exit(1)


def read_parameters(name: str, given: list[str]) -> dict[str, Any]:
    """`expression=17*23` stays text where the tool wants text; elsewhere JSON is read as JSON."""
    spec = next((spec for spec in TOOLS if spec.name == name), None)
    texts = (
        {key for key, each in _properties(spec).items() if each.get("type") == "string"} if spec else set()
    )
    parameters: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise BadInput(f"{item!r} is not NAME=VALUE")
        parameters[key] = value if key in texts else _json_or_text(value)
    return parameters


def _properties(spec: ToolSpec) -> dict[str, Any]:
    properties: Any = spec.parameters["properties"]
    return dict(properties)


def _as_json(spec: ToolSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "effects": spec.effects,
        "risk": spec.risk,
        "repeatable": spec.repeatable,
    }


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(output: Any) -> str:
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
