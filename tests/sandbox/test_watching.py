"""Watching folders, and what a sandbox says about itself, through E2B's unmodified SDKs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from e2b import FileNotFoundException, FilesystemEvent, InvalidArgumentException
from e2b_code_interpreter import AsyncSandbox, Sandbox

from tests.sandbox.conftest import Service
from tests.sandbox.test_api import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(metadata={"person": "ann"}, **service.options)
    yield made
    made.kill()


def test_what_is_no_folder_is_not_watched(sandbox: Sandbox) -> None:
    sandbox.files.write("plain.txt", "x")
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("nowhere")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.watch_dir("plain.txt")


def events_of(handle: Any, enough: int) -> list[FilesystemEvent]:
    seen: list[FilesystemEvent] = []

    def come() -> bool:
        seen.extend(handle.get_new_events())
        return len(seen) >= enough

    wait_until(come)
    return seen


def test_changes_are_told_in_order(sandbox: Sandbox) -> None:
    sandbox.files.make_dir("watched/below")
    handle = sandbox.files.watch_dir("watched")
    sandbox.commands.run("cd watched; echo 1 > a; chmod 600 a; mv a b; rm b; touch below/unseen")

    told = [(event.type.value, event.name) for event in events_of(handle, 6)]
    assert told == [
        ("create", "a"), ("write", "a"), ("chmod", "a"), ("rename", "a"), ("create", "b"), ("remove", "b")
    ]  # fmt: skip
    assert handle.get_new_events() == []
    handle.stop()
    with pytest.raises(Exception, match="stopped"):
        handle.get_new_events()


def test_folders_made_later_are_watched_too(sandbox: Sandbox) -> None:
    sandbox.files.make_dir("deep")
    handle = sandbox.files.watch_dir("deep", recursive=True, include_entry=True)
    sandbox.files.write("deep/one/two/file.txt", "here")

    seen = events_of(handle, 3)
    assert {event.name for event in seen} >= {"one", "one/two", "one/two/file.txt"}
    entry = next(event.entry for event in seen if event.name == "one/two/file.txt")
    assert entry is not None and entry.path == "/home/user/deep/one/two/file.txt"
    handle.stop()


async def test_changes_are_streamed(service: Service, sandbox: Sandbox) -> None:
    theirs = await AsyncSandbox.connect(sandbox.sandbox_id, **service.options)
    await theirs.files.make_dir("streamed")
    seen: asyncio.Queue[str] = asyncio.Queue()
    handle = await theirs.files.watch_dir("streamed", on_event=lambda event: seen.put_nowait(event.name))
    await theirs.files.write("streamed/now.txt", "x")

    assert await asyncio.wait_for(seen.get(), 5) == "now.txt"
    await handle.stop()


def test_watchers_are_counted(service: Service) -> None:
    greedy = Sandbox.create(**service.options)
    with pytest.raises(Exception, match="32 watchers"):
        for _ in range(33):
            greedy.files.watch_dir("/tmp")
    greedy.kill()


def test_a_sandbox_tells_about_itself(sandbox: Sandbox) -> None:
    info = sandbox.get_info()

    assert (info.state.value, info.metadata, info.cpu_count) == ("running", {"person": "ann"}, 2)
    before = sandbox.get_metrics()[0].disk_used
    sandbox.files.write("large.bin", b"x" * 20_000_000)
    after = sandbox.get_metrics()[0]
    assert 20_000_000 <= after.disk_used - before < 21_000_000
    assert after.disk_total == 512 * 1024 * 1024
    sandbox.files.remove("large.bin")
