from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portico.contracts.messages import BlobRef
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured, NotFound, Unavailable, Unreadable
from portico.settings.home import Home
from portico.storage.objects.blobs import BlobStore
from tests.portico.crypto.rotated import add_data_key
from tests.portico.servers import connections, s3_server
from tests.portico.storage.support import MASTER

MARKER = b"a-marker-that-nobody-may-read"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with s3_server(folder) as port:
        yield port


@pytest.fixture
async def store(port: int, keyring: Keyring) -> AsyncIterator[BlobStore]:
    store = BlobStore(connections(s3=port), keyring)
    await store.ensure_bucket()
    yield store
    store.close()


async def test_a_server_that_is_away_is_said_so_quickly(keyring: Keyring) -> None:
    store = BlobStore(connections(), keyring)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="s3 is unavailable"):
        await store.put(b"x")
    assert not await store.ready()
    assert time.monotonic() - began < 5
    store.close()


async def test_a_wrong_secret_needs_a_person(port: int, keyring: Keyring) -> None:
    store = BlobStore(connections(s3=port, secret="wrong"), keyring)
    with pytest.raises(Misconfigured, match="SignatureDoesNotMatch"):
        await store.put(b"x")
    store.close()


async def test_the_first_blob_makes_the_bucket(port: int, keyring: Keyring) -> None:
    first, second = (BlobStore(replace(connections(s3=port), bucket="not-yet-there"), keyring) for _ in "ab")
    refs = await asyncio.gather(*(store.put(MARKER) for store in (first, second) for _ in range(4)))
    assert [await first.get(ref) for ref in refs] == [MARKER] * 8
    first.close()
    second.close()


async def test_a_proxy_of_the_environment_is_not_used(
    port: int, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    store = BlobStore(connections(s3=port), keyring)
    await store.ensure_bucket()
    assert await store.ready()
    store.close()


@pytest.mark.parametrize(
    "content", [b"", b"x", MARKER * 1000, bytes(3_000_000)], ids=["empty", "one", "text", "3 MB"]
)
async def test_content_comes_back(store: BlobStore, content: bytes) -> None:
    ref = await store.put(content)
    assert ref.size_bytes == len(content)
    assert await store.get(ref) == content


async def test_nothing_readable_lies_on_the_server(store: BlobStore, folder: Path) -> None:
    await store.put(MARKER * 50)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert all(MARKER not in path.read_bytes() for path in files)


async def test_changed_or_moved_bytes_do_not_open(store: BlobStore, folder: Path) -> None:
    one, two = await store.put(b"one"), await store.put(b"two")
    place = folder / "data" / "portico"
    first, second = (place / one.key).read_bytes(), (place / two.key).read_bytes()
    for wrong in (second, first[:-1] + bytes([first[-1] ^ 1]), first[:20], b"plain text", b"PB1", b"PB1\xff"):
        (place / one.key).write_bytes(wrong)
        with pytest.raises(Unreadable):
            await store.get(one)


async def test_what_is_gone_is_not_found(store: BlobStore) -> None:
    ref = await store.put(b"x")
    await store.delete(ref)
    await store.delete(ref)
    with pytest.raises(NotFound):
        await store.get(ref)
    with pytest.raises(NotFound):
        await store.get(BlobRef(key="blobs/nothing", size_bytes=0))


async def test_older_keys_go_on_opening(port: int, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import base64

    monkeypatch.setenv("PORTICO_MASTER_KEY", base64.b64encode(MASTER).decode())
    before = BlobStore(connections(s3=port), open_keyring(home))
    await before.ensure_bucket()
    ref = await before.put(MARKER)
    add_data_key(home, "blob")
    after = BlobStore(connections(s3=port), open_keyring(home))
    newer = await after.put(MARKER)
    assert await after.get(ref) == await after.get(newer) == MARKER
    with pytest.raises(Unreadable):
        await before.get(newer)
    before.close()
    after.close()


async def test_without_lifecycle_rules_old_payloads_are_pruned(store: BlobStore, folder: Path) -> None:
    assert not await store.ensure_bucket()  # VersityGW has none: whoever runs the worker prunes
    ref = await store.put(b"x")
    payload = folder / "data" / "portico" / "v0" / "ns" / "default" / "digest"
    payload.parent.mkdir(parents=True)
    payload.write_bytes(b"ciphertext")
    assert await store.prune(time.time() - 3600) == 0
    assert await store.prune(time.time() + 3600) == 1
    assert not payload.exists()
    assert await store.get(ref) == b"x"
