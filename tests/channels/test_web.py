from __future__ import annotations

import pytest

from channels import web
from channels.base import Account, RawRequest
from portico.contracts.messages import Attachment, InboundEvent, MessageKind, Outgoing, Reply, Sent
from portico.errors import Refused, Unreadable

ACCOUNT = Account("web", "default", web.WebSettings())
CHANNEL = web.CHANNEL


def said(text: str, **more: object) -> InboundEvent:
    return web.event(id="u-1", conversation="c1", text=text, person_id="owner", locale="zh", **more)  # type: ignore[arg-type]


def test_nothing_comes_in_by_a_webhook() -> None:
    with pytest.raises(Refused):
        CHANNEL.receive(RawRequest("POST", "/webhooks/web", {}, {}, b"{}"), ACCOUNT)


@pytest.mark.parametrize(
    "body", [{}, {"id": 1}, {"id": "a", "person_id": "p", "text": []}, {"id": "a", "person_id": None}]
)
def test_a_body_of_another_shape_is_unreadable(body: dict[str, object]) -> None:
    event = said("x").model_copy(update={"body": body})
    with pytest.raises(Unreadable):
        CHANNEL.parse(event, ACCOUNT)


def test_the_same_id_is_the_same_key() -> None:
    assert said("a").dedup_keys == said("b").dedup_keys == ("web:default:u-1",)


@pytest.mark.parametrize(
    ("text", "more", "kind"),
    [
        ("hello", {}, MessageKind.TEXT),
        ("/help", {}, MessageKind.COMMAND),
        ("/etc/passwd", {}, MessageKind.TEXT),
        ("approve:1", {"kind": "button"}, MessageKind.BUTTON),
        ("look", {"attachments": (Attachment(name="a.png"),)}, MessageKind.MEDIA),
    ],
)
def test_what_was_written_is_read(text: str, more: dict[str, object], kind: MessageKind) -> None:
    message = CHANNEL.parse(said(text, **more), ACCOUNT)
    assert (message.text, message.kind, message.sender.id, message.locale) == (text, kind, "owner", "zh")
    assert message.id == "u-1"


async def test_a_reply_is_one_row_with_its_parts() -> None:
    (one,) = CHANNEL.render(Reply.of_text("**hi**", quotes="u-1"))
    assert one == Outgoing(
        chat="",
        method="reply",
        payload={"parts": [{"type": "text", "text": "**hi**"}], "quotes": "u-1", "written_by": ""},
    )
    assert await CHANNEL.send(one, ACCOUNT, key="k") == Sent(platform_id="k")
