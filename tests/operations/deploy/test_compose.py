"""How a container's end reaches whoever speaks with it: what it said last, and never a broken pipe in its place.

`docker` is a program that ends as a container would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.backup.entries import in_pieces, read_entries
from operations.backup.sealed_stream import BadArchive
from operations.deploy import compose as module
from operations.deploy.compose import Compose, ComposeFailed
from tests.support import until

REFUSES = "echo 'portico: the bucket does not answer' >&2; exit 4"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


def playing(docker: Path, script: str) -> Compose:
    docker.write_text(f"#!/bin/sh\necho $$ > {docker}.pid\n{script}\n")
    docker.chmod(0o755)
    return Compose(docker.parent, (docker,))


def has_ended(docker: Path) -> bool:
    """Nobody has waited for it yet."""
    try:
        pid = int(docker.with_name("docker.pid").read_text())
    except (OSError, ValueError):
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


@pytest.mark.parametrize("sizes", [[1], [100] * 500, [5_000] * 20, [4, 90, 4, 250_000]])
def test_what_a_container_that_ended_said_is_told_and_no_broken_pipe(docker: Path, sizes: list[int]) -> None:
    def pieces() -> Iterator[bytes]:
        until(lambda: has_ended(docker), timeout_s=20)
        yield from (b"x" * size for size in sizes)

    with pytest.raises(ComposeFailed, match="docker compose exec: portico: the bucket does not answer"):
        playing(docker, REFUSES).write("exec", pieces=pieces())


def test_what_breaks_off_the_giving_is_told_and_no_broken_pipe(docker: Path) -> None:
    def pieces() -> Iterator[bytes]:
        until(lambda: has_ended(docker), timeout_s=20)
        yield b"x"
        raise BadArchive("damaged")

    with pytest.raises(BadArchive, match="damaged"):
        playing(docker, REFUSES).write("exec", pieces=pieces())


@pytest.mark.parametrize("said", ["", "printf '\\000\\000'; ", "printf '\\000\\000\\001\\000{'; "])
def test_output_that_ends_early_is_told_by_who_ended(docker: Path, said: str) -> None:
    compose = playing(docker, said + "exec >&-; sleep 0.3; " + REFUSES)
    with (
        pytest.raises(ComposeFailed, match="the bucket does not answer"),
        compose.reading("run", "objects", "save") as out,
    ):
        list(read_entries(in_pieces(out)))


def test_output_that_is_cut_though_all_went_well_is_no_archive(docker: Path) -> None:
    with (
        pytest.raises(BadArchive, match="in the middle"),
        playing(docker, "exit 0").reading("run") as out,
    ):
        list(read_entries(in_pieces(out)))


def test_a_container_that_says_nonsense_is_not_waited_for(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARTING_S", 0.2)
    began = time.monotonic()
    with (
        pytest.raises(BadArchive, match="goes on after its end"),
        playing(docker, "printf '\\000\\000\\000\\000more'; exec sleep 60").reading("run") as out,
    ):
        list(read_entries(iter([out.read(8)])))
    assert time.monotonic() - began < 20


def test_a_command_without_an_end_is_one_line(docker: Path) -> None:
    with pytest.raises(ComposeFailed, match=r"docker compose ps -a: no end after 0\.2 s"):
        playing(docker, "exec sleep 60").run("ps", "-a", timeout_s=0.2)
