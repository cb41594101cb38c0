"""How a deployment's containers are spoken to: `docker compose` with the files and names of this deployment."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from portico.errors import Misconfigured, PorticoError

TIMEOUT_S = 300
QUICK_S = 30
PARTING_S = 10
SHOWN = 300


class ComposeFailed(Misconfigured):
    """A command in the deployment ended badly; the message ends with its last words."""


@dataclass(frozen=True)
class Compose:
    """One deployment. `folder` holds its secrets and `.env`."""

    folder: Path
    files: tuple[Path, ...]
    project: str = ""

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Raises `Misconfigured` where there is no Docker."""
        docker = shutil.which("docker")
        if docker is None:
            raise Misconfigured("`docker` is not there: install Docker with its compose plugin")
        names = ("-p", self.project) if self.project else ()
        env = self.folder / ".env"
        variables = ("--env-file", str(env)) if env.exists() else ()
        files = tuple(word for path in self.files for word in ("-f", str(path)))
        return (docker, "compose", *names, *files, *variables, *arguments)

    def run(self, *arguments: str, given: str | None = None, timeout_s: float | None = TIMEOUT_S) -> str:
        """What it printed. Raises `ComposeFailed`.

        Without a limit (None): what fetches images or changes data, for only the client would end at the limit, and
        what it has begun would go on.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ComposeFailed(f"{_short(arguments)}: no end after {timeout_s:g} s") from None
        if done.returncode:
            raise ComposeFailed(f"{_short(arguments)}: {_last_words(done.stderr)}")
        return done.stdout.strip()

    def try_run(self, *arguments: str) -> tuple[int, str]:
        """Exit status and output, whatever came of it."""
        try:
            return try_run(*self.command(*arguments))
        except Misconfigured:
            return 127, ""

    def services(self) -> list[str]:
        return self.run("config", "--services").split()

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("config", "--format", "json"))
        return found

    @contextmanager
    def reading(self, *arguments: str, given: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        """Its output as it comes. Raises `ComposeFailed` at the end where it ended badly: half of it is none of it."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as sent:
            for piece in given:
                sent.write(piece)
            sent.seek(0)
            process = subprocess.Popen(
                self.command(*arguments), stdin=sent, stdout=subprocess.PIPE, stderr=said
            )
            with process, _ended_with_us(process):
                assert process.stdout is not None
                try:
                    yield process.stdout
                except PorticoError:  # maybe because there was no more of it; why, it says itself
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(PARTING_S)
                    _check(process, arguments, said)
                    raise
            _check(process, arguments, said)

    def write(self, *arguments: str, pieces: Iterable[bytes]) -> None:
        """Give it these pieces. Raises `ComposeFailed`."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
            )
            with process, _ended_with_us(process):
                assert process.stdin is not None
                try:
                    for piece in pieces:
                        process.stdin.write(piece)
                    process.stdin.close()
                except BrokenPipeError:  # it has ended; why, it says itself
                    _close_input(process)
                    process.wait()
            _check(process, arguments, said)


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills it where what is done with it breaks off, for `Popen` waits for its end."""
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            process.kill()
            _close_input(process)


def _close_input(process: subprocess.Popen[bytes]) -> None:
    """Here, because `Popen` would try once more to send what is left, and fail in the place of the real reason."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def try_run(*command: str) -> tuple[int, str]:
    """Exit status (127: no such program) and standard output."""
    program = shutil.which(command[0])
    if program is None:
        return 127, ""
    try:
        done = subprocess.run(
            (program, *command[1:]),
            capture_output=True,
            text=True,
            timeout=QUICK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 1, ""
    return done.returncode, done.stdout.strip()


def _check(process: subprocess.Popen[bytes], arguments: tuple[str, ...], said: IO[bytes]) -> None:
    if process.returncode:
        said.seek(0)
        raise ComposeFailed(f"{_short(arguments)}: {_last_words(said.read().decode(errors='replace'))}")


def _short(arguments: tuple[str, ...]) -> str:
    return "docker compose " + " ".join(arguments[:4])


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return (lines[-1] if lines else "it says nothing")[-SHOWN:]
