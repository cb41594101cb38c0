"""What bad requests get at the webhooks: one refusal for every forgery, nothing stored, nothing told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx2
import pytest

from tests.api.conftest import FAILED_PER_MINUTE, MESSAGES_PER_MINUTE, TELEGRAM_SECRET, EdgeStack
from tests.fakes.hook import SECRET, message, sign

TELEGRAM = "/webhooks/telegram"
HOOK = "/webhooks/hook/shop"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
VARIES = {"date"}

Forgery = tuple[str, bytes, dict[str, str]]


def update(chat: int, text: str = "hello", update_id: int = 1) -> bytes:
    person = {"id": chat, "is_bot": False, "first_name": "Ada"}
    said = {
        "message_id": 1,
        "date": int(time.time()),
        "chat": {"id": chat, "type": "private"},
        "from": person,
    }
    return json.dumps({"update_id": update_id, "message": {**said, "text": text}}).encode()


def telegram(secret: str | None) -> Forgery:
    headers = {} if secret is None else {SECRET_HEADER: secret}
    return TELEGRAM, update(660_001), {"content-type": "application/json", **headers}


def hook(**wrong: str | None) -> Forgery:
    """A good message in which some headers are replaced, or missing."""
    body, headers = message("hello", chat="forged", message_id=f"forged-{time.monotonic_ns()}")
    return HOOK, body, {key: value for key, value in {**headers, **wrong}.items() if value is not None}


def hook_signed_for_another_body() -> Forgery:
    path, body, headers = hook()
    return path, body.replace(b"hello", b"jello"), headers


def hook_of(at: float) -> Forgery:
    body, headers = message("hello", chat="forged", at=int(time.time() + at))
    return HOOK, body, headers


def hook_with_another_key() -> Forgery:
    body, headers = message("hello", chat="forged", secret="whsec_" + "QUJD" * 8)
    return HOOK, body, headers


def unknown_account(path: str) -> Forgery:
    _, body, headers = hook() if "hook" in path else telegram(TELEGRAM_SECRET)
    return path, body, headers


FORGERIES: dict[str, Callable[[], Forgery]] = {
    "telegram without a secret": lambda: telegram(None),
    "telegram with an empty secret": lambda: telegram(""),
    "telegram with a wrong secret": lambda: telegram("wrong"),
    "telegram with the beginning of the secret": lambda: telegram(TELEGRAM_SECRET[:-1]),
    "telegram with more than the secret": lambda: telegram(TELEGRAM_SECRET + "x"),
    "telegram with an odd secret": lambda: telegram("\xff\xfe"),
    "telegram for an unknown account": lambda: unknown_account("/webhooks/telegram/other"),
    "hook without headers": lambda: (HOOK, b"{}", {}),
    "hook without a signature": lambda: hook(**{"webhook-signature": None}),
    "hook without a timestamp": lambda: hook(**{"webhook-timestamp": None}),
    "hook without an id": lambda: hook(**{"webhook-id": None}),
    "hook with another id": lambda: hook(**{"webhook-id": "another"}),
    "hook with an odd id": lambda: hook(**{"webhook-id": "\xe9\xff"}),
    "hook with a malformed timestamp": lambda: hook(**{"webhook-timestamp": "1e9"}),
    "hook with a huge timestamp": lambda: hook(**{"webhook-timestamp": "9" * 400}),
    "hook with a negative timestamp": lambda: hook(**{"webhook-timestamp": "-1"}),
    "hook with a malformed signature": lambda: hook(**{"webhook-signature": "v1,%%%"}),
    "hook with a signature of another version": lambda: hook(**{"webhook-signature": "v1a,QUJD"}),
    "hook with a signature that is no base64": lambda: hook(**{"webhook-signature": "v1,QUJ"}),
    "hook with a thousand signatures": lambda: hook(**{"webhook-signature": " ".join(["v1,QUJD"] * 1000)}),
    "hook signed for another body": hook_signed_for_another_body,
    "hook signed with another key": hook_with_another_key,
    "hook ten minutes old": lambda: hook_of(-600),
    "hook from ten minutes ahead": lambda: hook_of(600),
    "hook for an unknown account": lambda: unknown_account("/webhooks/hook/other"),
    "hook for an account with an odd name": lambda: unknown_account("/webhooks/hook/%00%ff"),
    "hook for the default account that is not there": lambda: unknown_account("/webhooks/hook"),
}


def post(client: httpx2.Client, forgery: Forgery) -> httpx2.Response:
    path, body, headers = forgery
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return client.post(path, content=body, headers=raw)


def shape(answer: httpx2.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a sender can see but the time."""
    headers = [(name, value) for name, value in answer.headers.items() if name not in VARIES]
    return answer.status_code, answer.content, headers


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_request_is_refused(edge: EdgeStack, stranger: httpx2.Client, name: str) -> None:
    assert post(stranger, FORGERIES[name]()).status_code == 401


def test_all_forgeries_get_one_identical_answer(edge: EdgeStack) -> None:
    answers = []
    for forgery in FORGERIES.values():
        with edge.stranger() as stranger:
            answers.append(shape(post(stranger, forgery())))
    assert answers[0][0] == 401
    assert all(answer == answers[0] for answer in answers)


def test_nothing_of_a_forgery_is_stored(edge: EdgeStack, stranger: httpx2.Client) -> None:
    for forgery in ("telegram with a wrong secret", "hook signed for another body"):
        post(stranger, FORGERIES[forgery]())
    assert not edge.has_workflow("telegram", "default", "660001")
    assert not edge.has_workflow("hook", "shop", "forged")
    body, headers = message("hello", chat="genuine", message_id="genuine-1")
    assert stranger.post(HOOK, content=body, headers=headers).status_code == 200
    assert edge.has_workflow("hook", "shop", "genuine"), "the check finds what is there"


def test_forgeries_are_counted(edge: EdgeStack, stranger: httpx2.Client) -> None:
    before = edge.counted("telegram", "refused")
    post(stranger, telegram("wrong"))
    assert edge.counted("telegram", "refused") == before + 1


# --- verified, but not what the platform documents ---------------------------------------------------

SHAPELESS = [b"", b"not json", b"[]", b"1", b'"text"', b"null", b"{", b"[" * 100_000]


def signed(body: bytes, message_id: str) -> dict[str, str]:
    now = int(time.time())
    signature = sign(SECRET, message_id=message_id, timestamp=now, body=body)
    return {"webhook-id": message_id, "webhook-timestamp": str(now), "webhook-signature": signature}


@pytest.mark.parametrize("body", SHAPELESS)
def test_what_is_verified_but_has_no_shape_is_a_bad_request(
    edge: EdgeStack, stranger: httpx2.Client, body: bytes
) -> None:
    before = edge.counted("telegram", "unreadable"), edge.counted("hook", "unreadable")
    telegram_answer = stranger.post(TELEGRAM, content=body, headers={SECRET_HEADER: TELEGRAM_SECRET})
    hook_answer = stranger.post(HOOK, content=body, headers=signed(body, "shapeless"))
    assert (telegram_answer.status_code, hook_answer.status_code) == (400, 400)
    assert telegram_answer.json()["code"] == "unreadable"
    after = edge.counted("telegram", "unreadable"), edge.counted("hook", "unreadable")
    assert after == (before[0] + 1, before[1] + 1)


def test_a_body_that_is_no_text_cannot_even_be_verified_by_a_hook(stranger: httpx2.Client) -> None:
    """Standard Webhooks signs text. Telegram's secret says nothing of the body."""
    body = b"\xff\xfe"
    assert stranger.post(HOOK, content=body, headers=signed(body, "bytes")).status_code == 401
    assert stranger.post(TELEGRAM, content=body, headers={SECRET_HEADER: TELEGRAM_SECRET}).status_code == 400


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"chat": "", "sender": "a"},
        {"chat": 7, "sender": "a"},
        {"chat": "c" * 257, "sender": "a"},
        [],
        None,
    ],
)
def test_a_hook_message_of_the_wrong_shape_is_a_bad_request(
    edge: EdgeStack, stranger: httpx2.Client, data: object
) -> None:
    stamp = "2026-01-01T00:00:00Z"
    body = json.dumps({"type": "message", "timestamp": stamp, "data": data}).encode()
    answer = stranger.post(HOOK, content=body, headers=signed(body, "shape"))
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable")


def test_kinds_that_nobody_asked_for_are_acknowledged_and_counted(
    edge: EdgeStack, stranger: httpx2.Client
) -> None:
    unknown = json.dumps({"update_id": 9, "brand_new_kind": {"chat": {"id": 660_002}}}).encode()
    other_type = json.dumps({"type": "order.paid", "data": {"chat": "quiet", "sender": "a"}}).encode()
    before = edge.counted("telegram", "quiet_unknown_kind"), edge.counted("hook", "quiet_unknown_kind")
    first = stranger.post(TELEGRAM, content=unknown, headers={SECRET_HEADER: TELEGRAM_SECRET})
    second = stranger.post(HOOK, content=other_type, headers=signed(other_type, "quiet"))
    assert (first.status_code, second.status_code) == (200, 200)
    after = edge.counted("telegram", "quiet_unknown_kind"), edge.counted("hook", "quiet_unknown_kind")
    assert after == (before[0] + 1, before[1] + 1)
    assert not edge.has_workflow("telegram", "default", "660002")
    assert not edge.has_workflow("hook", "shop", "quiet")


# --- too often ---------------------------------------------------------------------------------------


def test_who_forges_too_often_is_told_to_wait(edge: EdgeStack, stranger: httpx2.Client) -> None:
    for _ in range(FAILED_PER_MINUTE):
        assert post(stranger, telegram("wrong")).status_code == 401
    refused = post(stranger, telegram("wrong"))
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    with edge.stranger() as another:
        assert post(another, telegram("wrong")).status_code == 401, "only the address that forged"


def test_who_sends_much_and_genuine_is_not_told_to_wait(edge: EdgeStack, stranger: httpx2.Client) -> None:
    """A platform's updates come from few addresses."""
    for number in range(FAILED_PER_MINUTE + 5):
        body = update(661_000 + number, update_id=20_000 + number)
        answer = stranger.post(TELEGRAM, content=body, headers={SECRET_HEADER: TELEGRAM_SECRET})
        assert answer.status_code == 200


def test_a_chat_that_says_too_much_is_refused_before_the_ack(
    edge: EdgeStack, stranger: httpx2.Client
) -> None:
    answers = []
    for number in range(MESSAGES_PER_MINUTE + 1):
        body, headers = message(f"number {number}", chat="chatty", message_id=f"chatty-{number}")
        answers.append(stranger.post(HOOK, content=body, headers=headers))
    assert [answer.status_code for answer in answers] == [200] * MESSAGES_PER_MINUTE + [429]
    assert answers[-1].headers["retry-after"]
    body, headers = message("another chat", chat="quiet one", message_id="quiet-one")
    assert stranger.post(HOOK, content=body, headers=headers).status_code == 200
