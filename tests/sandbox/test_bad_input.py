"""Whatever is sent to the service: refused with 4xx, never 5xx, and never another's data."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from e2b_code_interpreter import Sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sandbox.attempts import tried
from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SECRET = "of-another-sandbox"
GONE = 502  # what the protocol answers for a sandbox that is not there
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
UNARY = [
    *(
        f"filesystem.Filesystem/{name}"
        for name in ("Stat", "ListDir", "MakeDir", "Move", "Remove", "CreateWatcher")
    ),
    *(f"filesystem.Filesystem/{name}" for name in ("GetWatcherEvents", "RemoveWatcher")),
    *(f"process.Process/{name}" for name in ("List", "SendInput", "CloseStdin", "SendSignal", "Update")),
]
STREAMS = [
    *(f"process.Process/{name}" for name in ("Start", "Connect", "StreamInput")),
    "filesystem.Filesystem/WatchDir",
]
API = [
    ("POST", "/v2/sandboxes/{id}/connect"), ("POST", "/sandboxes/{id}/timeout"), ("PUT", "/sandboxes/{id}/network"),
    ("POST", "/sandboxes/{id}/fork"), ("POST", "/sandboxes/{id}/snapshots"), ("GET", "/v2/sandboxes"),
    ("GET", "/snapshots"), ("DELETE", "/templates/nothing"), ("POST", "/execute"), ("POST", "/contexts"),
    ("POST", "/contexts/nothing/restart"), ("DELETE", "/contexts/nothing"), ("GET", "/files"), ("POST", "/files"),
]  # fmt: skip
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = """
    path process pid tag input stdin pty size cols rows signal cmd args envs cwd code context_id language env_vars
    timeout count name metadata network allowOut depth source destination watcherId start data memory
"""
names = st.sampled_from(NAMES.split())
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
)
objects = st.dictionaries(names, anything, max_size=5)


@pytest.fixture(scope="module")
def mine(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(timeout=600, **service.options)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def theirs(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(timeout=600, **service.options)
    made.files.write("secret.txt", SECRET)
    made.run_code(f"secret = {SECRET!r}")
    yield made
    made.kill()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, timeout=20) as made:
        yield made


def headers_of(sandbox: Sandbox, **more: str) -> dict[str, str]:
    token = str(sandbox.connection_config.sandbox_headers["X-Access-Token"])
    return {"e2b-sandbox-id": sandbox.sandbox_id, "x-access-token": token, **more}


def assert_refused_or_done(answer: Any) -> None:
    assert answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert SECRET not in answer.text


@quick
@given(
    path=st.sampled_from(UNARY), body=st.binary(max_size=60) | objects.map(lambda it: json.dumps(it).encode())
)
def test_unary_calls(client: httpx2.Client, mine: Sandbox, theirs: Sandbox, path: str, body: bytes) -> None:
    headers = headers_of(mine, **{"content-type": "application/json"})

    assert_refused_or_done(client.post(f"/{path}", content=body, headers=headers))


def enveloped(flags: int, size: int | None, body: bytes) -> bytes:
    return struct.pack(">BI", flags, len(body) if size is None else size) + body


frames = st.builds(
    enveloped,
    st.integers(0, 255),
    st.none() | st.integers(0, 2**32 - 1),
    st.binary(max_size=40) | objects.map(lambda it: json.dumps(it).encode()),
)


@tried("malformed frames of Connect", "every length and field is checked")
@quick
@given(
    path=st.sampled_from(STREAMS), body=st.binary(max_size=30) | st.lists(frames, max_size=3).map(b"".join)
)
def test_streams(client: httpx2.Client, mine: Sandbox, theirs: Sandbox, path: str, body: bytes) -> None:
    headers = headers_of(mine, **{"content-type": "application/connect+json", "connect-timeout-ms": "300"})

    answer = client.post(f"/{path}", content=body, headers=headers)
    assert_refused_or_done(answer)
    flags, size = struct.unpack_from(">BI", answer.content)  # what came back is well-formed whatever was sent
    last = answer.content
    while len(last) > 5 + size:
        last = last[5 + size :]
        flags, size = struct.unpack_from(">BI", last)
    assert flags == 2 or b"filesystem" in answer.content or b"start" in answer.content


@quick
@given(
    route=st.sampled_from(API), body=st.binary(max_size=40) | objects.map(lambda it: json.dumps(it).encode())
)
def test_the_api_and_the_interpreter(
    service: Service,
    client: httpx2.Client,
    mine: Sandbox,
    theirs: Sandbox,
    route: tuple[str, str],
    body: bytes,
) -> None:
    method, path = route
    if path.endswith(("fork", "snapshots")):
        body = body[:-1]  # as good as always malformed: copies of sandboxes are not what is tried here
    headers = headers_of(mine, **{"x-api-key": service.key})
    answer = client.request(method, path.format(id=mine.sandbox_id), content=body, headers=headers)

    assert answer.status_code < 500, (route, body, answer.text[:300])
    assert SECRET not in answer.text
    if path.endswith("timeout") or path.endswith("connect"):
        mine.set_timeout(600)


paths = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["..", ".", "", "~", "/", "etc", "shadow", "proc", "1", "root", "a\0b", "．．", "‥", "secret.txt"]
    ),
    max_size=8,
).map("/".join)


@quick
@given(path=paths)
def test_paths(client: httpx2.Client, mine: Sandbox, theirs: Sandbox, path: str) -> None:
    for answer in (
        client.get("/files", params={"path": path}, headers=headers_of(mine)),
        client.post("/filesystem.Filesystem/ListDir", json={"path": path}, headers=headers_of(mine)),
    ):
        assert_refused_or_done(answer)
        assert "root:$" not in answer.text


@quick
@given(path=paths)
def test_uploads_to_any_path(client: httpx2.Client, mine: Sandbox, path: str) -> None:
    headers = headers_of(mine, **{"content-type": "application/octet-stream"})
    answer = client.post("/files", params={"path": path}, content=b"x", headers=headers)

    assert_refused_or_done(answer)


def looks_signed(digest: bytes) -> str:
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


@tried("forge a signed address", "a signature over the secret token")
@quick
@given(
    signature=st.text(max_size=50) | st.binary(min_size=32, max_size=32).map(looks_signed),
    expiration=st.none() | st.text(max_size=12) | st.integers().map(str),
)
def test_forged_signatures(
    client: httpx2.Client, theirs: Sandbox, signature: str, expiration: str | None
) -> None:
    asked = {"path": "secret.txt", "signature": signature}
    if expiration is not None:
        asked["signature_expiration"] = expiration

    assert client.get("/files", params=asked).status_code == 401
    assert client.post("/files", params=asked, files={"file": b"x"}).status_code == 401


@quick
@given(
    token=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=70),
    sent=st.sampled_from(["x-access-token", "e2b-traffic-access-token"]),
)
def test_forged_tokens(client: httpx2.Client, theirs: Sandbox, token: str, sent: str) -> None:
    headers = {"e2b-sandbox-id": theirs.sandbox_id, sent: token}

    assert client.get("/files", params={"path": "secret.txt"}, headers=headers).status_code == 401
    assert client.post("/execute", json={"code": "secret"}, headers=headers).status_code == 401


@quick
@given(wanted=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip))
def test_sandboxes_that_are_none(service: Service, client: httpx2.Client, mine: Sandbox, wanted: str) -> None:
    headers = {**headers_of(mine), "e2b-sandbox-id": wanted}

    assert client.post("/execute", json={"code": "1"}, headers=headers).status_code == GONE


@pytest.mark.parametrize(
    "path,name",
    [
        ("/execute", "language"),
        ("/execute", "code"),
        ("/contexts", "language"),
        ("/contexts", "cwd"),
        ("/v2/sandboxes", "templateID"),
        ("/process.Process/List", "x"),
        ("/filesystem.Filesystem/Stat", "path"),
    ],
)
def test_half_a_character(
    service: Service, client: httpx2.Client, mine: Sandbox, path: str, name: str
) -> None:
    headers = headers_of(mine, **{"x-api-key": service.key, "content-type": "application/json"})

    assert client.post(path, content=b'{"%s": "\\ud800"}' % name.encode(), headers=headers).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"x-access-token": "ä"}, {"authorization": "Basic !!!"}, {"authorization": "Basic " + "A" * 9000},
        {"e2b-sandbox-port": "1"}, {"e2b-sandbox-port": "x" * 5000}, {"connect-timeout-ms": "-1"},
        {"connect-timeout-ms": "9" * 400}, {"keepalive-ping-interval": "nan"}, {"content-encoding": "br"},
    ],
)  # fmt: skip
def test_odd_headers(client: httpx2.Client, mine: Sandbox, headers: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in {**headers_of(mine), **headers}.items()}
    for method, path in (
        ("GET", "/files?path=x"),
        ("POST", "/files?path=x"),
        ("POST", "/process.Process/List"),
    ):
        answer = client.request(method, path, headers=sent)
        expected_gone = "e2b-sandbox-port" in headers
        assert answer.status_code < 500 or (expected_gone and answer.status_code == GONE), answer.text


@tried("a body without end", "limits of every body")
def test_a_body_without_end_is_refused(service: Service, client: httpx2.Client, mine: Sandbox) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 20)

    for path in ("/execute", "/process.Process/List", "/process.Process/Start", "/v2/sandboxes"):
        headers = headers_of(mine, **{"x-api-key": service.key})
        try:
            answer = client.post(path, content=endless(), headers=headers)
        except httpx2.TransportError:
            continue  # it was told off while it still spoke
        assert answer.status_code < 500


def test_after_all_that_everything_works(mine: Sandbox, theirs: Sandbox) -> None:
    began = time.monotonic()

    assert mine.run_code("40 + 2").text == "42"
    assert theirs.run_code("secret").text == SECRET
    assert theirs.files.read("secret.txt") == SECRET
    assert time.monotonic() - began < 5
