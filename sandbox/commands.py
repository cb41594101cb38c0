"""`process.Process`: commands started, listened to, fed and signaled."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.connect import Message, RpcError, keepalive_of, messages, once, server_stream, streamed, unary
from sandbox.connect import failed as failed_stream
from sandbox.envd import sandbox_of
from sandbox.http import HttpRefused, text_map
from sandbox.link import GuestError
from sandbox.record import Sandbox
from sandbox.running import Command

COMMANDS_LIMIT = 64
SIGNALS = ("SIGNAL_SIGKILL", "SIGNAL_SIGTERM")


async def start(sandbox: Sandbox, message: Message, request: Request) -> AsyncIterator[Message]:
    if len(sandbox.commands) >= COMMANDS_LIMIT:
        raise RpcError("resource_exhausted", f"{COMMANDS_LIMIT} commands run already")
    limit_s = _time_limit(request)
    config, tag = message.get("process"), message.get("tag")
    call = sandbox.link.call("start", **_arguments(sandbox, config, message))
    command = Command(call, config if isinstance(config, dict) else {}, tag if isinstance(tag, str) else None)
    answers = await command.begin()
    sandbox.commands[command.pid] = command
    events = command.events(keepalive_of(request))
    first = await anext(events)  # listens before anything is said
    task = asyncio.create_task(_run(sandbox, command, answers, limit_s))
    sandbox.tasks.add(task)
    task.add_done_callback(sandbox.tasks.discard)
    return _with_limit(first, events, limit_s)


async def _run(sandbox: Sandbox, command: Command, answers: Any, limit_s: float | None) -> None:
    """Runs until it ends or its client's time limit, with or without listeners."""
    pump = asyncio.ensure_future(command.pump(answers))
    try:
        done, _ = await asyncio.wait({pump}, timeout=limit_s)
        if not done:
            await _ask(sandbox, command, action="signal", signal="SIGNAL_SIGKILL")
            await pump
    except GuestError:
        pass  # it ended at that moment
    finally:
        pump.cancel()
        sandbox.commands.pop(command.pid, None)


async def _with_limit(
    first: Message, events: AsyncIterator[Message], limit_s: float | None
) -> AsyncIterator[Message]:
    until = None if limit_s is None else time.monotonic() + limit_s
    yield first
    async for event in events:
        if until is not None and "end" in event.get("event", {}) and time.monotonic() >= until:
            raise RpcError("deadline_exceeded", "the command's time was over")
        yield event


def _arguments(sandbox: Sandbox, config: Any, message: Message) -> dict[str, Any]:
    if not isinstance(config, dict) or not isinstance(config.get("cmd"), str):
        raise RpcError("invalid_argument", "process.cmd must be text")
    arguments, cwd = config.get("args") or [], config.get("cwd") or ""
    if (
        not isinstance(cwd, str)
        or not isinstance(arguments, list)
        or not all(isinstance(a, str) for a in arguments)
    ):
        raise RpcError("invalid_argument", "process.args and process.cwd must be text")
    try:
        env = sandbox.env | text_map(config.get("envs"), "process.envs")
    except HttpRefused as refused:
        raise RpcError("invalid_argument", str(refused)) from None
    size = message.get("pty", {}).get("size") if isinstance(message.get("pty"), dict) else None
    terminal = None if size is None else {"cols": _dimension(size, "cols"), "rows": _dimension(size, "rows")}
    argv = [config["cmd"], *arguments]
    return {
        "argv": argv,
        "cwd": cwd,
        "env": env,
        "stdin": message.get("stdin", True) is True,
        "pty": terminal,
    }


def _dimension(size: Any, name: str) -> int:
    value = size.get(name) if isinstance(size, dict) else None
    if not isinstance(value, int) or not 0 < value < 10_000:
        raise RpcError("invalid_argument", f"pty.size.{name} must be a number")
    return value


def _time_limit(request: Request) -> float | None:
    value = request.headers.get("connect-timeout-ms", "")
    return (
        int(value) / 1000 if value.isascii() and value.isdigit() and len(value) < 11 and int(value) else None
    )


def _selected(sandbox: Sandbox, message: Message) -> Command:
    wanted = message.get("process")
    if not isinstance(wanted, dict):
        raise RpcError("invalid_argument", "process names no process")
    for command in sandbox.commands.values():
        if command.pid == wanted.get("pid") or (command.tag and command.tag == wanted.get("tag")):
            return command
    raise RpcError("not_found", "there is no such process")


async def connect(sandbox: Sandbox, message: Message, request: Request) -> AsyncIterator[Message]:
    return _selected(sandbox, message).events(keepalive_of(request))


async def list_all(sandbox: Sandbox, _: Message) -> Message:
    return {"processes": [command.described() for command in sandbox.commands.values()]}


async def _ask(sandbox: Sandbox, command: Command, **arguments: Any) -> Message:
    await sandbox.link.ask("process", pid=command.pid, **arguments)
    return {}


async def send_input(sandbox: Sandbox, message: Message) -> Message:
    data = _bytes(message.get("input"))
    return await _ask(sandbox, _selected(sandbox, message), action="input", body=data)


def _bytes(value: Any) -> bytes:
    encoded = (value.get("stdin") or value.get("pty") or "") if isinstance(value, dict) else None
    if not isinstance(encoded, str) or len(encoded) > 1 << 20:
        raise RpcError("invalid_argument", "input must be base64, at most 1 MiB")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise RpcError("invalid_argument", "input must be base64") from None


async def close_stdin(sandbox: Sandbox, message: Message) -> Message:
    return await _ask(sandbox, _selected(sandbox, message), action="close")


async def send_signal(sandbox: Sandbox, message: Message) -> Message:
    if message.get("signal") not in SIGNALS:
        raise RpcError("invalid_argument", f"signal must be one of {', '.join(SIGNALS)}")
    return await _ask(sandbox, _selected(sandbox, message), action="signal", signal=message["signal"])


async def update(sandbox: Sandbox, message: Message) -> Message:
    command, terminal = _selected(sandbox, message), message.get("pty")
    size = terminal.get("size") if isinstance(terminal, dict) else None
    columns, rows = _dimension(size, "cols"), _dimension(size, "rows")
    return await _ask(sandbox, command, action="resize", cols=columns, rows=rows)


async def stream_input(request: Request) -> Response:
    """A client's stream: which process first, then what it reads."""
    command: Command | None = None
    try:
        sandbox = sandbox_of(request)
        async for message in messages(request):
            if isinstance(message.get("start"), dict):
                command = _selected(sandbox, message["start"])
            elif isinstance(message.get("data"), dict):
                if command is None:
                    raise RpcError("invalid_argument", "the first message must be a start")
                await _ask(sandbox, command, action="input", body=_bytes(message["data"].get("input")))
    except (RpcError, GuestError) as error:
        return streamed(failed_stream(error))
    return streamed(once({}))


def _unary(name: str, answer: Any) -> Route:
    return Route(f"/process.Process/{name}", unary(sandbox_of, answer), methods=["POST"])


ROUTES = [
    Route("/process.Process/Start", server_stream(sandbox_of, start), methods=["POST"]),
    Route("/process.Process/Connect", server_stream(sandbox_of, connect), methods=["POST"]),
    Route("/process.Process/StreamInput", stream_input, methods=["POST"]),
    _unary("List", list_all),
    _unary("SendInput", send_input),
    _unary("CloseStdin", close_stdin),
    _unary("SendSignal", send_signal),
    _unary("Update", update),
]
