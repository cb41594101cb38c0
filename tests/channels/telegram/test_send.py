from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx2
import pytest

from channels.base import Account
from channels.telegram import api
from channels.telegram.channel import Telegram
from channels.telegram.parse import received
from portico.contracts.messages import Attachment, BlobRef, FilePart, NotSent, Outgoing, Reply, Sent, Unknown
from portico.errors import Misconfigured, NotFound, TooLarge, Unavailable
from tests.channels.conftest import Configured
from tests.fakes.telegram import FakeTelegram, delay, drop, refuse, status, too_many


@pytest.fixture
async def channel() -> AsyncIterator[Telegram]:
    channel = Telegram()
    yield channel
    await channel.close()


@pytest.fixture
def account(telegram_account: Configured) -> Account:
    return telegram_account()


def outgoing(text: str = "hello", chat: str = "42") -> Outgoing:
    (one,) = Telegram().render(Reply.of_text(text))
    return one.model_copy(update={"chat": chat})


async def test_a_wrong_token_is_permanent_and_names_the_account_not_the_token(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    telegram.token = "1:another"
    outcome = await channel.send(outgoing(), account, key="k")
    assert isinstance(outcome, NotSent)
    assert outcome.permanent
    assert "channels.telegram.default" in outcome.reason
    assert "7001" not in outcome.reason


@pytest.mark.parametrize("code", [400, 403])
async def test_a_refusal_is_permanent(
    channel: Telegram, telegram: FakeTelegram, account: Account, code: int
) -> None:
    telegram.script("sendMessage", refuse(code, "Forbidden: bot was blocked by the user"))
    outcome = await channel.send(outgoing(), account, key="k")
    assert isinstance(outcome, NotSent)
    assert outcome.permanent


async def test_too_many_tells_when_to_come_back(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    telegram.script("sendMessage", too_many(7))
    outcome = await channel.send(outgoing(), account, key="k")
    assert outcome == NotSent(reason="status 429", retry_after_s=7.0)


async def test_an_unopened_connection_is_not_sent_and_may_be_tried_again(
    channel: Telegram, telegram: FakeTelegram, telegram_account: Configured
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        account = telegram_account(api_base=f"http://127.0.0.1:{taken.getsockname()[1]}")
        outcome = await channel.send(outgoing(), account, key="k")
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent


async def test_an_address_that_cannot_be_resolved_is_not_sent(
    channel: Telegram, telegram_account: Configured
) -> None:
    outcome = await channel.send(
        outgoing(), telegram_account(api_base="http://no-such-host.invalid"), key="k"
    )
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent


@pytest.mark.parametrize("taken", [True, False])
async def test_a_connection_lost_after_writing_is_unknown(
    channel: Telegram, telegram: FakeTelegram, account: Account, taken: bool
) -> None:
    telegram.script("sendMessage", drop(taken=taken))
    outcome = await channel.send(outgoing(), account, key="k")
    assert isinstance(outcome, Unknown)
    assert len(telegram.messages) == taken


@pytest.mark.parametrize("code", [500, 502, 504])
async def test_an_answer_of_a_gateway_is_unknown(
    channel: Telegram, telegram: FakeTelegram, account: Account, code: int
) -> None:
    telegram.script("sendMessage", status(code, taken=True))
    assert isinstance(await channel.send(outgoing(), account, key="k"), Unknown)


async def test_no_answer_in_time_is_unknown(
    channel: Telegram, telegram: FakeTelegram, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CALL_TIMEOUT", httpx2.Timeout(0.2))
    telegram.script("sendMessage", delay(1.0))
    assert isinstance(await channel.send(outgoing(), account, key="k"), Unknown)


async def test_a_message_arrives_formatted_in_its_topic(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    outcome = await channel.send(outgoing("**hi** <there>", chat="-100:7"), account, key="k")
    (seen,) = telegram.messages
    assert outcome == Sent(platform_id=str(seen.message_id))
    assert (seen.chat, seen.text) == ("-100:7", "hi <there>")
    assert seen.payload["message_thread_id"] == 7


async def test_a_message_whose_html_is_refused_goes_as_plain_text(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    broken = outgoing().model_copy(update={"payload": {"text": "<b>a &amp; b", "parse_mode": "HTML"}})
    assert isinstance(await channel.send(broken, account, key="k"), Sent)
    (seen,) = telegram.messages
    assert seen.text == "a & b"
    assert "parse_mode" not in seen.payload


async def test_a_group_that_moved_is_followed(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    moved = refuse(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-1009)
    telegram.script("sendMessage", moved)
    assert isinstance(await channel.send(outgoing(chat="-9"), account, key="k"), Sent)
    assert telegram.messages[0].chat == "-1009"


async def test_one_connection_serves_many_messages(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    for _ in range(3):
        await channel.send(outgoing(), account, key="k")
    assert len({call.peer for call in telegram.calls}) == 1


async def test_a_file_is_uploaded_from_its_blob(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    part = FilePart(name="a.csv", media_type="text/csv", blob=BlobRef(key="k1", size_bytes=3))
    (one,) = channel.render(Reply(parts=(part,), quotes="5"))
    one = one.model_copy(update={"chat": "42"})

    async def read(blob: BlobRef) -> bytes:
        assert blob.key == "k1"
        return b"1,2"

    assert isinstance(await channel.send(one, account, key="k", read_blob=read), Sent)
    assert telegram.messages[0].files == {"document": b"1,2"}
    assert telegram.messages[0].payload["reply_parameters"]["message_id"] == 5


async def test_a_file_without_its_blob_is_not_sent(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    (one,) = channel.render(Reply(parts=(FilePart(blob=BlobRef(key="k", size_bytes=3)),)))

    async def away(_: BlobRef) -> bytes:
        raise Unavailable("S3")

    assert await channel.send(one, account, key="k") == NotSent(
        reason="the content of the file was not found", permanent=True
    )
    outcome = await channel.send(one, account, key="k", read_blob=away)
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent
    assert telegram.calls == []


async def test_fetches_what_was_sent_along(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    telegram.add_file("f1", b"x" * 1000)
    attachment = Attachment(platform_ref="f1")
    assert await channel.fetch(attachment, account, limit_bytes=1000) == b"x" * 1000
    with pytest.raises(TooLarge):
        await channel.fetch(attachment, account, limit_bytes=999)
    with pytest.raises(NotFound):
        await channel.fetch(Attachment(platform_ref="f2"), account, limit_bytes=1000)
    with pytest.raises(NotFound):
        await channel.fetch(Attachment(), account, limit_bytes=1000)
    telegram.script("getFile", status(502))
    with pytest.raises(Unavailable):
        await channel.fetch(attachment, account, limit_bytes=1000)


async def test_identify_learns_the_bots_name(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    known = await channel.identify(account)
    assert known.settings.bot_username == telegram.username
    telegram.token = "1:another"
    with pytest.raises(Misconfigured):
        await channel.identify(account)


async def test_connect_sets_the_webhook_or_takes_it_away(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    await channel.connect(account, public_url="https://portico.example/")
    assert telegram.webhook["url"] == "https://portico.example/webhooks/telegram/default"
    assert telegram.webhook["secret_token"] == account.settings.webhook_secret
    assert "callback_query" in telegram.webhook["allowed_updates"]
    await channel.connect(account, public_url="")
    assert telegram.webhook == {}


async def test_a_webhook_that_was_set_by_hand_is_left_alone(
    channel: Telegram, telegram: FakeTelegram, telegram_account: Configured
) -> None:
    telegram.webhook = {"url": "https://tunnel.example"}
    account = telegram_account(receive="webhook")
    assert (await channel.connect(account, public_url="")).settings.bot_username == telegram.username
    assert telegram.webhook == {"url": "https://tunnel.example"}


@pytest.mark.parametrize(
    ("receive", "public_url", "webhook"),
    [
        ("auto", "", False),
        ("auto", "https://a.example", True),
        ("poll", "https://a.example", False),
        ("webhook", "", True),
    ],
)
def test_auto_means_a_webhook_where_there_is_a_public_url(
    telegram_account: Configured, receive: str, public_url: str, webhook: bool
) -> None:
    assert Telegram().uses_webhook(telegram_account(receive=receive), public_url) is webhook


async def test_signs_of_life_never_fail(channel: Telegram, telegram: FakeTelegram, account: Account) -> None:
    telegram.script("sendChatAction", status(502), drop())
    for _ in range(3):
        await channel.typing(account, "-100:7")
    assert telegram.called("sendChatAction")[0].payload["message_thread_id"] == 7


async def test_a_press_is_acknowledged_and_a_text_is_not(
    channel: Telegram, telegram: FakeTelegram, account: Account
) -> None:
    for update in (telegram.text("hello"), telegram.press("yes")):
        (event,) = received(update, account).events
        await channel.acknowledge(event, account)
    (call,) = telegram.calls
    assert call.method == "answerCallbackQuery"
    assert call.payload["callback_query_id"].startswith("query-")
