from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.crypto.keyring import open_keyring
from portico.errors import BadInput, Conflict, NotFound, PorticoError, TooLarge
from portico.settings.connections import Connections
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.objects import workspace as workspace_module
from portico.storage.objects.artifacts import OUTPUT, Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.objects.paths import LONGEST_PATH_BYTES, clean_path, clean_prefix
from portico.storage.objects.workspace import WorkspaceStore
from portico.storage.tools import ToolTable
from portico.testing import MemoryWorkspace
from portico.tool import ToolFailed, ToolSpec
from tests.portico.servers import connections, s3_server

QUOTA = 1000
BAD_PATHS = [
    "", "/", "..", "../x", "a/../b", "a/..", "/etc/passwd", "a\x00b", "a\nb", "a\\..\\b", "\ud800", "./", ".",
    "x" * 256, "/".join(["abc"] * 400), "a/./../../b",
]  # fmt: skip


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connections]:
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield connections(s3=port)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    home = Home(tmp_path)
    home.make()
    made = Database.open(home, open_keyring(home))
    yield made
    made.close()


@pytest.fixture
def blobs(tmp_path: Path, reached: Connections, database: Database) -> Iterator[BlobStore]:
    made = BlobStore(reached, open_keyring(Home(tmp_path)))
    yield made
    made.close()


@pytest.fixture
def store(database: Database, blobs: BlobStore) -> WorkspaceStore:
    return WorkspaceStore(database, blobs, quota_bytes=QUOTA)


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_no_path_leads_out(store: WorkspaceStore, path: str) -> None:
    for work in (
        store.read("p1", path),
        store.write("p1", path, b"x"),
        store.delete("p1", path),
        store.move("p1", path, "b"),
        store.move("p1", "a", path),
    ):
        with pytest.raises(BadInput):
            await work
    assert await store.list("p1") == []


PARTS = ["..", ".", "", "a", "é", "~", "%2e%2e", "\u2025", "…", "\\", "a b"]


@given(
    st.text(alphabet=st.characters(codec=None), max_size=60) | st.lists(st.sampled_from(PARTS)).map("/".join)
)
def test_a_path_that_passes_stays_inside(path: str) -> None:
    try:
        cleaned = clean_path(path)
    except ValueError:
        return
    inside = Path("/workspace")
    assert (inside / cleaned).resolve().is_relative_to(inside)
    assert (inside / cleaned) != inside
    assert clean_path(cleaned) == cleaned
    assert len(cleaned.encode()) <= LONGEST_PATH_BYTES
    assert "\x00" not in cleaned
    assert not {"..", ".", ""} & set(cleaned.split("/"))
    assert clean_prefix(cleaned) == cleaned + "/"


async def test_one_name_in_two_spellings_is_one_file(store: WorkspaceStore) -> None:
    await store.write("p1", "e\u0301t\u00e9/./a.txt", b"one")
    assert await store.read("p1", "\u00e9te\u0301//a.txt") == b"one"


async def test_nobody_sees_the_files_of_another(store: WorkspaceStore) -> None:
    await store.write("p1", "a.txt", b"private")
    assert await store.list("p2") == []
    assert await store.stat("p2", "a.txt") is None
    for work in (store.read("p2", "a.txt"), store.delete("p2", "a.txt"), store.move("p2", "a.txt", "b.txt")):
        with pytest.raises(NotFound):
            await work


async def test_a_workspace_has_a_quota_which_a_replaced_file_gives_back(store: WorkspaceStore) -> None:
    await store.write("p1", "a", b"x" * 900)
    with pytest.raises(TooLarge, match="1000 bytes"):
        await store.write("p1", "b", b"x" * 200)
    await store.write("p1", "a", b"x" * 1000)
    await store.delete("p1", "a")
    await store.write("p1", "b", b"x" * 200)
    await store.write("p2", "b", b"x" * 1000)


async def test_two_writes_at_once_do_not_pass_the_quota(store: WorkspaceStore) -> None:
    ends = await asyncio.gather(
        *(store.write("p1", f"f{number}", b"x" * 300) for number in range(6)), return_exceptions=True
    )
    assert sum(isinstance(end, TooLarge) for end in ends) == 3
    assert sum(file.size_bytes for file in await store.list("p1")) == 900


async def test_a_file_over_the_largest_size_is_refused(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "LARGEST_BYTES", 10)
    with pytest.raises(TooLarge):
        await store.write("p1", "a", b"x" * 11)


async def test_a_name_is_a_file_or_a_folder(store: WorkspaceStore) -> None:
    await store.write("p1", "a/b", b"x")
    for work in (store.write("p1", "a", b"x"), store.write("p1", "a/b/c", b"x")):
        with pytest.raises(BadInput, match="not both"):
            await work
    await store.write("p1", "c", b"x")
    with pytest.raises(BadInput, match="not both"):
        await store.move("p1", "c", "a")
    await store.move("p1", "a/b", "a/d")
    assert [file.path for file in await store.list("p1", "a")] == ["a/d"]


async def test_a_move_replaces_nothing(store: WorkspaceStore) -> None:
    await store.write("p1", "a", b"one")
    await store.write("p1", "b", b"two")
    with pytest.raises(Conflict):
        await store.move("p1", "a", "b")
    assert (await store.move("p1", "a", "c.txt")).path == "c.txt"
    assert await store.read("p1", "c.txt") == b"one"


async def test_a_listing_takes_the_start_of_a_path_as_it_is(store: WorkspaceStore) -> None:
    for path in ("a%b/x", "aXb/x", "ab/x", "abc/x"):
        await store.write("p1", path, b"x")
    assert [file.path for file in await store.list("p1", "a%b")] == ["a%b/x"]
    assert [file.path for file in await store.list("p1", "ab/")] == ["ab/x"]


async def test_content_lies_encrypted_and_old_content_goes(
    store: WorkspaceStore, reached: Connections
) -> None:
    await store.write("p1", "a.txt", b"words that nobody else reads")
    await store.write("p1", "a.txt", b"other words that nobody reads")
    stored = await asyncio.to_thread(_stored, reached)
    assert not any(b"words that nobody" in body for body in stored)
    assert await store.read("p1", "a.txt") == b"other words that nobody reads"


def _stored(connections: Connections) -> list[bytes]:
    from portico.storage.objects.blobs import make_client

    client = make_client(connections)
    found = client.list_objects(connections.bucket, recursive=True)
    return [client.get_object(connections.bucket, str(one.object_name)).read() for one in found]


def test_the_one_for_tests_keeps_the_same_rules() -> None:
    files = MemoryWorkspace({"a/b": b"x"})
    for path in BAD_PATHS:
        with pytest.raises(ToolFailed):
            files.write(path, b"x")
    with pytest.raises(ToolFailed, match="not both"):
        files.write("a", b"x")
    assert [file.path for file in files.list("a")] == ["a/b"]


# --- artifacts and the catalog ----------------------------------------------------------------------------


async def test_an_artifact_is_found_by_run_and_name(database: Database, blobs: BlobStore) -> None:
    artifacts = Artifacts(database, blobs)
    kept = await artifacts.keep("tool-1", "folder/pláno 1.pdf", b"one", "application/pdf", person_id="p1")
    assert kept.url == "/v1/invocations/tool-1/artifacts/pl%C3%A1no%201.pdf"
    await artifacts.keep("tool-1", "pláno 1.pdf", b"two", "application/pdf", person_id="p1")
    found = await artifacts.find("tool-1", "pláno 1.pdf")
    assert (found.person_id, found.media_type) == ("p1", "application/pdf")
    assert await artifacts.content(found) == b"two"
    for run, name in (("tool-2", "pláno 1.pdf"), ("tool-1", "other")):
        with pytest.raises(NotFound):
            await artifacts.find(run, name)


async def test_a_run_keeps_a_bounded_number_of_artifacts(
    database: Database, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.storage.objects.artifacts.MOST_ARTIFACTS", 2)
    monkeypatch.setattr("portico.storage.objects.artifacts.LARGEST_BYTES", 10)
    artifacts = Artifacts(database, blobs)
    for name in ("a", "b", "b"):
        await artifacts.keep("tool-1", name, b"x", "text/plain", person_id="p1")
    with pytest.raises(BadInput, match="at most 2"):
        await artifacts.keep("tool-1", "c", b"x", "text/plain", person_id="p1")
    with pytest.raises(TooLarge):
        await artifacts.keep("tool-2", "c", b"x" * 11, "text/plain", person_id="p1")
    for name in ("..", "", "a\x00b"):
        with pytest.raises(PorticoError):
            await artifacts.keep("tool-2", name, b"x", "text/plain", person_id="p1")


async def test_a_large_output_is_no_artifact_that_can_be_named(database: Database, blobs: BlobStore) -> None:
    artifacts = Artifacts(database, blobs)
    blob = await artifacts.keep_output("tool-1", b"{}", person_id="p1")
    assert await blobs.get(blob) == b"{}"
    with pytest.raises(NotFound):
        await artifacts.find("tool-1", OUTPUT)
    assert await artifacts.prune(2**40) == 1
    with pytest.raises(NotFound):
        await blobs.get(blob)


async def test_old_artifacts_go(database: Database, blobs: BlobStore) -> None:
    artifacts = Artifacts(database, blobs)
    await artifacts.keep("tool-1", "a", b"x", "text/plain", person_id="p1")
    assert await artifacts.prune(0) == 0
    assert await artifacts.prune(2**40) == 1
    with pytest.raises(NotFound):
        await artifacts.find("tool-1", "a")


async def test_the_catalog_is_read_as_it_was_published(database: Database) -> None:
    table = ToolTable(database)
    assert not (await table.read()).published
    spec = ToolSpec(
        name="a", description="b", parameters={"type": "object"}, effects="none", risk="low", secrets=("s",)
    )
    await table.publish([spec], ["wrong.py:1: SyntaxError"])
    assert await table.list() == (spec,)
    assert await table.get("a") == spec
    assert await table.get("b") is None
    assert (await ToolTable(database).read()).problems == ("wrong.py:1: SyntaxError",)
