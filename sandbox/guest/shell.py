"""One bash context: a single shell that lives on between cells, so that variables, functions and `cd` stay.

Runs inside the sandbox only.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys

from sandbox.guest.cells import Cells, Event

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
SET = "__had_{0}=${{{0}+x}} __was_{0}=${{{0}-}}; export {0}={1}\n"
RESTORE = (
    'if [ -n "$__had_{0}" ]; then export {0}="$__was_{0}"; else unset {0}; fi; unset __had_{0} __was_{0}\n'
)
INTERRUPTED = 128 + signal.SIGINT


class ShellGone(Exception):
    """The cell ended the shell itself, as `exit` does."""


class Shell:
    """An interactive bash without a terminal: an interrupt ends what it runs, not the shell."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._count = 0
        ended, self._told = os.pipe()
        self._ended = os.fdopen(ended, "rb", buffering=0)
        errors = os.dup(2)
        self._bash = subprocess.Popen(
            ["/bin/bash", "--norc", "--noprofile", "--noediting", "-i"],
            env={**os.environ, "PS1": "", "PS2": ""},  # noqa: TID251 - the guest's own
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # until it has said that it has no terminal
            pass_fds=(self._told, errors),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(self._told)
        self._write(f"exec 2>&{errors} {errors}>&-; set +H +m; PS1= PS2=\n")

    def run(self, request: Event) -> None:
        self._count += 1
        self._cells.emit({"type": "number_of_executions", "execution_count": self._count})
        env = {name: value for name, value in request["env"].items() if NAME.match(name)}
        self._write("".join(SET.format(name, shlex.quote(value)) for name, value in env.items()))
        # evaluated from one word: a cell that is cut off in the middle cannot swallow what follows it
        self._write(f"eval {shlex.quote(request['code'])} </dev/null {self._told}>&-\n")
        status = self._finish()
        self._write("".join(RESTORE.format(name) for name in env))
        if status:
            name = "Interrupted" if status == INTERRUPTED else "CommandFailed"
            text = f"exit status {status}"
            self._cells.emit({"type": "error", "name": name, "value": text, "traceback": text})

    def renew(self, seed: str) -> None:
        self._write(f"RANDOM={int(seed[:7], 16)}\n")

    def _finish(self) -> int:
        self._write(f"printf '%s\\n' $? >&{self._told}\n")
        line = self._ended.readline()
        if not line:
            raise ShellGone
        return int(line)

    def _write(self, text: str) -> None:
        assert self._bash.stdin is not None
        try:
            self._bash.stdin.write(text.encode(errors="replace"))
            self._bash.stdin.flush()
        except BrokenPipeError:
            raise ShellGone from None


def main() -> None:
    cells = Cells()
    shell = Shell(cells)
    try:
        cells.serve(shell.run, shell.renew)
    except ShellGone:
        sys.exit(1)  # waiting requests get the end of the kernel


if __name__ == "__main__":
    main()
