"""The end of a start: a message that goes through every part, and where to go from here."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from pathlib import Path

from operations.embedded import selfcheck
from operations.embedded.context import StackContext
from operations.embedded.stack import Stack
from portico.errors import PorticoError

ANY_ADDRESS = ("0.0.0.0", "::")


async def announce(stack: Stack, *, prove: bool = True, behind: bool = False) -> None:
    """Called once, when every part is ready. What it cannot prove it says; the stack stays up."""
    if "api" not in stack.runners:
        stack.report("portico", "the chosen parts are up")
        return
    context, program = stack.context, program_name()
    if prove:
        await _prove(stack, program)
    url = edge_url(context)
    await _tell_chat(stack, url, program)
    stack.report("history", f"{url}/temporal/")
    stack.report("next", f'{program} send "what time is it in Tokyo?"')
    stop = f"{program} down" if behind else "Ctrl-C"
    stack.report("portico", f"is up at {url}, its state is in {context.home.root}; {stop} stops it")


async def _prove(stack: Stack, program: str) -> None:
    try:
        proof = await selfcheck.check(stack.context)
    except PorticoError as error:
        stack.report("check", f"failed: {error}; see {program} doctor")
        return
    answer = " ".join(proof.answer.split())
    stack.report("check", f'"{selfcheck.QUESTION}" → "{answer}" in {proof.took_ms:.0f} ms')
    if proof.steps:
        stack.report("", " · ".join(f"{name} {took_ms:.0f} ms" for name, took_ms in proof.steps))


async def _tell_chat(stack: Stack, url: str, program: str) -> None:
    try:
        link = await selfcheck.ask_edge(stack.context, "/v1/login-links", {})
    except PorticoError as error:
        stack.report("chat", f"{url}/ (no login link: {error})")
        return
    stack.report(
        "chat", f"{url}{link['path']}  (works once, within 10 minutes; {program} open makes another)"
    )
    tunnel = ssh_line(stack.context.port("api"))
    if tunnel:
        stack.report("", f"from your own machine first: {tunnel}")


def edge_url(context: StackContext) -> str:
    """The edge as a browser on this machine reaches it."""
    host, port = context.settings.host, context.port("api")
    shown = "127.0.0.1" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"{'https' if context.tls else 'http'}://{shown}:{port}"


def ssh_line(port: int) -> str:
    """The SSH tunnel that a remote person needs; empty in a local session."""
    connection = os.environ.get("SSH_CONNECTION", "").split()  # noqa: TID251 - tells how this terminal came here
    if len(connection) != 4:
        return ""
    return f"ssh -L {port}:127.0.0.1:{port} {getpass.getuser()}@{connection[2]}"


def program_name() -> str:
    """How this Portico is called in a shell: by name where the name leads here, else by its path."""
    mine = Path(sys.executable).with_name("portico")
    found = shutil.which("portico")
    if found and Path(found).resolve() == mine.resolve():
        return "portico"
    try:
        return str(mine.relative_to(Path.cwd()))
    except ValueError:
        return str(mine)
