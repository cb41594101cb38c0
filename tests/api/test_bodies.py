"""Bodies and heads that are too large or come too slowly, at the webhooks and behind the keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.api.conftest import REQUEST_TIMEOUT_S, TELEGRAM_SECRET, EdgeStack

MIB = 1024 * 1024
SECRET = {"X-Telegram-Bot-Api-Secret-Token": TELEGRAM_SECRET}
DOORS = ["/webhooks/telegram", "/webhooks/hook/shop", "/v1/messages", "/v1/pairing/approve", "/codec/decode"]
LIMITS = {"/v1/messages": 28 * MIB, "/codec/decode": 16 * MIB}


def pieces(size: int) -> Iterator[bytes]:
    """A body without a declared length."""
    for _ in range(0, size, MIB):
        yield b"x" * MIB


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_is_declared_too_large_is_refused_unread(edge: EdgeStack, door: str) -> None:
    head = [
        f"POST {door} HTTP/1.1",
        "host: edge",
        f"authorization: Bearer {edge.owner_key}",
        f"content-length: {LIMITS.get(door, MIB) * 2}",
    ]
    with connection(edge) as open_socket:
        open_socket.sendall("\r\n".join([*head, "", ""]).encode())
        answer = open_socket.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_grows_too_large_is_refused(edge: EdgeStack, owner: httpx2.Client, door: str) -> None:
    answer = owner.post(door, content=pieces(LIMITS.get(door, MIB) + 2 * MIB))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_the_largest_body_is_still_read(stranger: httpx2.Client) -> None:
    body = b'{"update_id": 5' + b" " * (MIB - 16) + b"}"
    assert len(body) == MIB
    assert stranger.post("/webhooks/telegram", content=body, headers=SECRET).status_code == 200
    assert stranger.post("/webhooks/telegram", content=body + b" ", headers=SECRET).status_code == 413


def test_too_large_and_too_slow_are_counted(edge: EdgeStack, stranger: httpx2.Client) -> None:
    before = edge.counted("telegram", "too_large")
    stranger.post("/webhooks/telegram", content=b"x" * (MIB + 1), headers=SECRET)
    assert edge.counted("telegram", "too_large") == before + 1


def test_who_has_no_key_is_refused_before_a_body_is_read(edge: EdgeStack) -> None:
    head = ["POST /v1/messages HTTP/1.1", "host: edge", f"content-length: {10 * MIB}", "", ""]
    with connection(edge) as open_socket:
        open_socket.sendall("\r\n".join(head).encode())
        assert open_socket.recv(4096).startswith(b"HTTP/1.1 401 ")


# --- too slow ----------------------------------------------------------------------------------------


def connection(edge: EdgeStack) -> socket.socket:
    host, _, port = edge.running.address("api").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10 * REQUEST_TIMEOUT_S)


def drip(open_socket: socket.socket, byte: bytes) -> bytes:
    """Send one byte at a time until the other side has had enough; gives what it said."""
    open_socket.settimeout(0.1)
    end = time.monotonic() + 6 * REQUEST_TIMEOUT_S
    while time.monotonic() < end:
        try:
            open_socket.sendall(byte)
            return open_socket.recv(4096)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return b""
    raise AssertionError("it is still listening")


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_comes_too_slowly_is_given_up(edge: EdgeStack, door: str) -> None:
    head = [
        f"POST {door} HTTP/1.1",
        "host: edge",
        f"authorization: Bearer {edge.owner_key}",
        "content-length: 5000",
    ]
    with connection(edge) as open_socket:
        open_socket.sendall("\r\n".join([*head, "", ""]).encode())
        answer = drip(open_socket, b" ")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


def test_a_head_that_never_ends_is_given_up(edge: EdgeStack) -> None:
    with connection(edge) as open_socket:
        open_socket.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\nx-slow: ")
        assert drip(open_socket, b"a") == b""


def test_a_connection_that_says_nothing_is_given_up(edge: EdgeStack) -> None:
    with connection(edge) as open_socket:
        assert open_socket.recv(1) == b""


def test_a_second_head_that_never_ends_is_given_up(edge: EdgeStack) -> None:
    with connection(edge) as open_socket:
        open_socket.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
        answer = b""
        while b'"ok"' not in answer:
            answer += open_socket.recv(4096)
        open_socket.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert drip(open_socket, b"a") == b""


def test_slow_senders_keep_nobody_waiting(edge: EdgeStack, stranger: httpx2.Client) -> None:
    slow = [connection(edge) for _ in range(200)]
    try:
        for each in slow:
            each.sendall(b"POST /webhooks/telegram HTTP/1.1\r\nhost: edge\r\ncontent-length: 500\r\n\r\n")
        began = time.monotonic()
        assert stranger.get("/healthz").status_code == 200
        assert time.monotonic() - began < REQUEST_TIMEOUT_S
    finally:
        for each in slow:
            each.close()
