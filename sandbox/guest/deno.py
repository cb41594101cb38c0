"""One JavaScript or TypeScript context: Deno's own Jupyter kernel, asked and heard over the guest's loopback.

Deno may read and write the sandbox's files and its own variables, and nothing else: the other permissions are given
back before the first cell. Runs inside the sandbox only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq  # type: ignore[import-not-found]  # the guest's own

from sandbox.guest.cells import Cells, Event, write_all

START_S = 20.0
LATE_S = 0.5  # how long to wait for output that the kernel sends after it has called the cell done
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
STREAMS = {"stdout": 1, "stderr": 2}
GIVEN_BACK = ("run", "ffi", "sys", "import")
# The generator of `crypto` draws a new seed from the system after 64 KiB; V8's own of `Math.random` cannot be seeded.
RENEW = """for (let n = 0; n < 3; n++) crypto.getRandomValues(new Uint8Array(65536));
{ const draw = new Uint32Array(2), fill = crypto.getRandomValues.bind(crypto);
  Math.random = () => (fill(draw), (draw[0] * 0x200000 + (draw[1] >>> 11)) / 0x20000000000000); }"""
SET = """{ const before = {}; for (const [name, value] of Object.entries(%s)) {
  before[name] = Deno.env.get(name); Deno.env.set(name, value); } globalThis[Symbol.for("before")] = before; }"""
RESTORE = """for (const [name, value] of Object.entries(globalThis[Symbol.for("before")] ?? {}))
  value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
delete globalThis[Symbol.for("before")];"""


class KernelGone(Exception):
    """Deno has ended."""


@dataclass
class Seen:
    """What has arrived for one request."""

    replied: Event | None = None
    idle: bool = False
    error: bool = False

    @property
    def over(self) -> bool:
        return self.replied is not None and self.idle


class Deno:
    """The kernel's process and the three sockets that matter."""

    def __init__(self) -> None:
        context = zmq.Context()
        self._ports = _free_ports()
        self._shell = context.socket(zmq.DEALER)
        self._control = context.socket(zmq.DEALER)
        self._published = context.socket(zmq.SUB)
        self._published.setsockopt(zmq.SUBSCRIBE, b"")
        self._poller = zmq.Poller()
        for connected, port in ((self._shell, 0), (self._published, 1), (self._control, 3)):
            connected.setsockopt(zmq.LINGER, 0)
            connected.connect(f"tcp://127.0.0.1:{self._ports[port]}")
        for read in (self._shell, self._published):
            self._poller.register(read, zmq.POLLIN)
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # no key: a client on the guest's loopback is the same user and could read it, and a copy would share it
        connection: Event = dict(zip(PORTS, self._ports, strict=True))
        connection |= {"ip": "127.0.0.1", "transport": "tcp", "key": "", "signature_scheme": "hmac-sha256"}
        connection |= {"kernel_name": "deno"}
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(connection, file)
        quiet = {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1", "DENO_DIR": "/home/user/.cache/deno"}
        process = subprocess.Popen(
            [_program(), "jupyter", "--kernel", "--conn", file.name],
            env={**os.environ, **quiet},  # noqa: TID251 - the guest's own
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._connection = Path(file.name)
        return process

    def begin(self) -> None:
        """Wait until it answers, and take from it what a cell does not need."""
        until = time.monotonic() + START_S
        while not self._publishes():
            if time.monotonic() > until:
                raise KernelGone
        self._connection.unlink(missing_ok=True)
        names = GIVEN_BACK if "HTTPS_PROXY" in os.environ else (*GIVEN_BACK, "net")  # noqa: TID251
        self.run(f"for (const name of {json.dumps(names)}) await Deno.permissions.revoke({{ name }});")

    def _publishes(self) -> bool:
        """Whether what it publishes arrives: what it said before this end was connected did not."""
        seen, content = Seen(), {"code": "0", "silent": False, "store_history": False, "allow_stdin": False}
        mine = self._send(self._shell, "execute_request", {**content, "user_expressions": {}})
        until = time.monotonic() + START_S
        while seen.replied is None and time.monotonic() < until:
            self._hear(seen, (mine,))
        for _ in range(4):
            self._hear(seen, (mine,))
        return seen.idle

    def run(self, code: str, cells: Cells | None = None) -> Seen:
        """One request until all of it has come. Only with `cells` is anything reported."""
        seen, content = Seen(), {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        mine = self._send(self._shell, "execute_request", {**content, "user_expressions": {}})
        while not seen.over:
            self._hear(seen, (mine,), cells)
        if cells is not None:
            self._await_late(cells, mine)
        return seen

    def interrupt(self, *_: Any) -> None:
        with contextlib.suppress(zmq.ZMQError):
            self._send(self._control, "interrupt_request", {})

    def _await_late(self, cells: Cells, earlier: str) -> None:
        """What a cell writes and gives may arrive after its end: what is sent next arrives after that."""
        mark, seen = secrets.token_hex(16), Seen()
        marks = {"stdout": f"{mark}\n", "stderr": f"{mark}\n", "result": f'"{mark}"'}
        code = f"console.log('{mark}'); console.error('{mark}'); '{mark}'"
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        self._send(self._shell, "execute_request", {**content, "user_expressions": {}})
        until = time.monotonic() + LATE_S
        while (marks or seen.replied is None) and time.monotonic() < until:
            self._hear(seen, (earlier,), cells, marks)

    def _hear(
        self,
        seen: Seen,
        mine: tuple[str, ...],
        cells: Cells | None = None,
        marks: dict[str, str] | None = None,
    ) -> str:
        """Take what has arrived, of one message; its kind, or nothing after a short while."""
        ready = dict(self._poller.poll(50))
        if not ready:
            if self._process.poll() is not None:
                raise KernelGone
            return ""
        arrived = self._published if self._published in ready else self._shell
        kind, parent, content = _received(arrived)
        if arrived is self._shell:
            seen.replied = content
        elif cells is not None and not _taken_out(kind, content, marks):
            _report(kind, content, parent in mine, seen, cells)
        if kind == "status" and parent in mine and content.get("execution_state") == "idle":
            seen.idle = True
        return kind

    def _send(self, to: Any, kind: str, content: Event) -> str:
        number = secrets.token_hex(16)
        header = {
            "msg_id": number,
            "msg_type": kind,
            "session": "cells",
            "username": "user",
            "version": "5.3",
        }
        header["date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        to.send_multipart(
            [b"<IDS|MSG>", b"", *(json.dumps(part).encode() for part in (header, {}, {}, content))]
        )
        return number


def _received(arrived: Any) -> tuple[str, str, Event]:
    parts = arrived.recv_multipart()
    header, parent, _, content = (json.loads(part) for part in parts[parts.index(b"<IDS|MSG>") + 2 :][:4])
    return str(header["msg_type"]), str(parent.get("msg_id")), content


def _taken_out(kind: str, content: Event, marks: dict[str, str] | None) -> bool:
    """Whether the message was one of the marks that say that nothing earlier is to come."""
    if not marks:
        return False
    name = str(content.get("name")) if kind == "stream" else "result"
    text = content.get("text") if kind == "stream" else content.get("data", {}).get("text/plain")
    if name in marks and isinstance(text, str) and text.endswith(marks[name]):
        content["text"] = text.removesuffix(marks.pop(name))
        return kind != "stream" or not content["text"]
    return False


def _report(kind: str, content: Event, mine: bool, seen: Seen, cells: Cells) -> None:
    if kind == "stream":  # also of what an earlier cell left running
        write_all(STREAMS.get(str(content.get("name")), 1), str(content.get("text", "")))
    elif kind in ("execute_result", "display_data") and mine:
        data = content.get("data") or {}
        cells.emit({"type": "result", "main": kind == "execute_result", "data": data})
    elif kind == "error" and mine:
        seen.error = True
        traceback = "\n".join(map(str, content.get("traceback") or []))
        said = {"name": str(content.get("ename")), "value": str(content.get("evalue"))[:10_000]}
        cells.emit({"type": "error", **said, "traceback": traceback[:100_000]})


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in PORTS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _program() -> str:
    beside = Path(sys.executable).with_name("deno")
    return str(beside) if beside.exists() else "deno"


class Session:
    """A context: its kernel, and how its cells are counted and broken off."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._deno = Deno()
        self._deno.begin()
        self._count = 0
        self._interrupted = False

    def run(self, request: Event) -> None:
        self._count += 1
        self._cells.emit({"type": "number_of_executions", "execution_count": self._count})
        self._interrupted = False
        if request["env"]:
            self._deno.run(SET % json.dumps(request["env"]))
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            seen = self._deno.run(request["code"], self._cells)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if seen.replied is not None and seen.replied.get("status") == "error" and not seen.error:
            self._cells.emit(self._without_words(request["code"]))
        if request["env"]:
            self._deno.run(RESTORE)

    def renew(self, _: str) -> None:
        self._deno.run(RENEW)

    def _interrupt(self, *_: Any) -> None:
        self._interrupted = True
        self._deno.interrupt()

    def _without_words(self, code: str) -> Event:
        """The kernel says nothing of a cell that was broken off or does not parse: its formatter does."""
        if self._interrupted:
            return {"type": "error", "name": "Interrupted", "value": "", "traceback": "Interrupted"}
        done = subprocess.run(
            [_program(), "fmt", "--ext=ts", "-"],
            input=code.encode(errors="replace"),
            env={**os.environ, "NO_COLOR": "1"},  # noqa: TID251 - the guest's own
            capture_output=True,
            timeout=10,
            check=False,
        )
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode == 0 or not said:  # it parses, but what it imports is not there
            value = said = "the cell could not be loaded: is a module that it imports there?"
            return {"type": "error", "name": "Error", "value": value, "traceback": said}
        value = said.splitlines()[0].removeprefix("error: ").removeprefix("SyntaxError: ")
        return {"type": "error", "name": "SyntaxError", "value": value[:10_000], "traceback": said[:100_000]}


def main() -> None:
    cells = Cells()
    try:
        session = Session(cells)
        cells.serve(session.run, session.renew)
    except KernelGone:
        sys.exit(1)  # waiting requests get the end of the kernel


if __name__ == "__main__":
    main()
