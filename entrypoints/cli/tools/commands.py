"""`portico tools`: what the tools are, writing one, and running one through the gateway or right here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from entrypoints.cli.edge_client import call, edge_url
from entrypoints.cli.output import print_json, print_table
from entrypoints.cli.tools.approve import approve_tool, show_callback_secret
from portico.errors import BadInput, NoSuchTool
from portico.settings.connections import part_address
from portico.settings.home import Home

app = typer.Typer(no_args_is_help=True, help="what the gateway can do", add_completion=False)

FIRST_S, NEXT_S = 3, 30
"""How long requests wait for the result: the first, before a person gets the reason of the wait, and the next."""
LONGEST_WORDS = 90

Schema = Mapping[str, Any]


@app.command("list")
def list_tools(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Every tool with its parameters, its effects and its risk; and what is wrong with files that give none."""
    tools, problems = known_tools()
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if as_json:
        print_json(tools)
        return
    rows = [
        (f"{one['name']}({', '.join(_properties(one))})", one["effects"], one["risk"], _words(one))
        for one in tools
    ]
    print_table([("tool", "effects", "risk", "what it does"), *rows], empty="there are no tools")


@app.command("new")
def new_tool(
    name: Annotated[str, typer.Argument(help="lower-case letters, digits and _")],
    to: Annotated[Path | None, typer.Option(help="folder; without it that of this home")] = None,
) -> None:
    """Write a function and its test. A running gateway has it within two seconds."""
    from entrypoints.cli.tools.new import write_tool

    function, test = write_tool(name, to or Home.from_environment().functions)
    typer.echo(f"{function}\n{test}\n")
    typer.echo(f"test it:  python -m pytest {test}")
    typer.echo(f"run it:   portico tools run {name} text=hello [--local]")
    if to is not None:
        typer.echo(f"a gateway finds it with PORTICO_FUNCTIONS={to.absolute()}")


@app.command("run")
def run_tool(
    name: Annotated[str, typer.Argument(help="as `portico tools list` shows it")],
    parameters: Annotated[
        list[str] | None, typer.Argument(help="NAME=VALUE …", metavar="[NAME=VALUE]...")
    ] = None,
    local: Annotated[bool, typer.Option(help="right here, without gateway, policy and record")] = False,
    secret: Annotated[list[str] | None, typer.Option(help="with --local: NAME=VALUE")] = None,
    save: Annotated[Path | None, typer.Option(help="with --local: folder for artifacts")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the whole result as JSON")] = False,
) -> None:
    """Run a tool through the running gateway: the rules decide, and the history keeps it."""
    if not local:
        edge_url(Home.from_environment())  # says how to start it where none runs
    tools, _ = known_tools(here=local)
    schemas = {one["name"]: one["parameters"] for one in tools}
    if name not in schemas and not local:
        from portico.tools.catalog import nearest

        raise NoSuchTool(name, nearest(name, schemas))
    given = read_parameters(schemas.get(name), parameters or [])
    if local:
        _run_here(name, given, secret or [], save)
        return
    result = call(
        "POST", "/v1/invocations", body={"toolName": name, "parameters": given}, params={"wait_s": FIRST_S}
    )
    if result["status"] == "running":
        _say_if_it_waits(result["invocationId"])
    while result["status"] == "running":
        result = call("GET", f"/v1/invocations/{result['invocationId']}", params={"wait_s": NEXT_S})
    if as_json:
        print_json(result)
    elif result["status"] == "succeeded":
        typer.echo(_text(result["output"]))
        for artifact in result["artifacts"]:
            typer.echo(f"{artifact['name']}: {artifact['sizeBytes']} bytes at {artifact['url']}", err=True)
    else:
        error = result.get("error") or {}
        typer.echo(f"{name}: {result['status']}: {error.get('message', error.get('code', ''))}", err=True)
    if result["status"] != "succeeded":
        raise typer.Exit(1)


def _say_if_it_waits(invocation_id: str) -> None:
    if any(one["invocation_id"] == invocation_id for one in call("GET", "/v1/approvals")):
        typer.echo(
            f"it waits for a yes: `/approve {invocation_id}` in a chat, or POST /v1/approvals/{invocation_id}",
            err=True,
        )


def known_tools(*, here: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
    """What the running gateway has; where none runs, what the folders hold."""
    if not here and part_address(Home.from_environment(), "api") is not None:
        return call("GET", "/v1/tools"), call("GET", "/v1/tool-problems")["problems"]
    from entrypoints.cli.tools.local import look

    found = look()
    shown = ("name", "description", "parameters", "effects", "risk", "repeatable", "source", "unavailable")
    tools = [{key: spec.to_json()[key] for key in shown} for spec in found.specs]
    return tools, list(found.problems)


def read_parameters(schema: Schema | None, given: list[str]) -> dict[str, Any]:
    """`expression=17*23` stays text where the tool wants text; elsewhere JSON is read as JSON."""
    properties = (schema or {}).get("properties", {})
    texts = {key for key, each in properties.items() if each.get("type") == "string"}
    parameters: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise BadInput(f"{item!r} is not NAME=VALUE")
        parameters[key] = value if key in texts else _json_or_text(value)
    return parameters


def _run_here(name: str, given: dict[str, Any], secrets: list[str], save: Path | None) -> None:
    from entrypoints.cli.tools.local import run_here

    named = dict(item.partition("=")[::2] for item in secrets)

    def say(text: str) -> None:
        typer.echo(text, err=True)

    typer.echo(_text(run_here(name, given, given=named, save=save, say=say)))


def _properties(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = tool["parameters"].get("properties", {})
    return properties


app.command("approve")(approve_tool)
app.command("callback-secret")(show_callback_secret)


def _words(tool: Mapping[str, Any]) -> str:
    if tool["unavailable"]:
        return f"not now: {tool['unavailable']}"
    words = str(tool["description"])
    return words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…"


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(output: Any) -> str:
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
