"""Files through E2B's unmodified SDK, and addresses that were forged."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx2
import pytest
from e2b import FileNotFoundException, InvalidArgumentException
from e2b_code_interpreter import Sandbox

from tests.sandbox.attempts import tried
from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(**service.options)
    yield made
    made.kill()


def test_what_is_not_there_is_not_found(sandbox: Sandbox) -> None:
    for ask in (sandbox.files.read, sandbox.files.get_info, sandbox.files.list):
        with pytest.raises(FileNotFoundException):
            ask("nothing/here")
    assert not sandbox.files.exists("nothing/here")


@tried("have the service read a device", "only regular files are read")
@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/mem", "/home/user", "a\0b"])
def test_what_is_no_file_is_not_read(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(
        (InvalidArgumentException, Exception),
        match=r"(?i)regular|directory|NUL|invalid|denied|input|error|address",
    ):
        sandbox.files.read(path)


def test_a_file_comes_back_as_it_went(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 10_000
    written = sandbox.files.write("deep/in/file.bin", data)

    assert written.path == "/home/user/deep/in/file.bin"
    assert bytes(sandbox.files.read("deep/in/file.bin", format="bytes")) == data
    info = sandbox.files.get_info("deep/in/file.bin")
    assert (info.size, info.owner, info.permissions) == (len(data), "user", "-rw-r--r--")


def test_folders_are_made_listed_moved_and_removed(sandbox: Sandbox) -> None:
    assert sandbox.files.make_dir("box")
    assert not sandbox.files.make_dir("box")
    sandbox.files.write("box/a.txt", "a")
    sandbox.files.rename("box/a.txt", "box/b.txt")

    assert [entry.name for entry in sandbox.files.list("box")] == ["b.txt"]
    with pytest.raises(InvalidArgumentException):
        sandbox.files.list("box/b.txt")
    sandbox.files.remove("box")
    assert not sandbox.files.exists("box")


@tried(
    "use a signed address for another file, the other way or later",
    "a signature over path, operation and time",
)
def test_a_signed_address_opens_one_file_one_way(sandbox: Sandbox) -> None:
    sandbox.files.write("signed.txt", "for you")
    address = sandbox.download_url("signed.txt", use_signature_expiration=60)

    assert httpx2.get(address).text == "for you"
    assert httpx2.get(address.replace("signed.txt", "other.txt")).status_code == 401
    assert httpx2.post(address, files={"file": b"mine"}).status_code == 401
    late = sandbox.download_url("signed.txt", use_signature_expiration=-5)
    assert httpx2.get(late).status_code == 401
    put = httpx2.post(sandbox.upload_url("signed.txt"), files={"file": ("x", b"changed")})
    assert put.status_code == 200
    assert sandbox.files.read("signed.txt") == "changed"


def test_a_packed_upload_is_unpacked(service: Service, sandbox: Sandbox) -> None:
    headers = {"e2b-sandbox-id": sandbox.sandbox_id, "content-type": "application/octet-stream"}
    headers["x-access-token"] = str(sandbox.connection_config.sandbox_headers["X-Access-Token"])
    headers["content-encoding"] = "gzip"
    url = f"{service.url}/files?path=packed.txt"

    assert httpx2.post(url, content=gzip.compress(b"loose"), headers=headers).status_code == 200
    assert httpx2.post(url, content=b"no gzip", headers=headers).status_code == 400
    assert sandbox.files.read("packed.txt") in ("loose", "")


def test_a_full_home_is_said(sandbox: Sandbox) -> None:
    sandbox.run_code("with open('/home/user/full', 'wb') as f: f.truncate(0)")
    error = sandbox.run_code(
        "with open('/home/user/full', 'wb') as f:\n  for _ in range(600): f.write(b'x' * 1048576)"
    ).error

    assert error is not None
    assert "No space left" in error.value
    sandbox.files.remove("full")
