from __future__ import annotations

from portico.contracts.messages import ConversationRef
from portico.storage.engine.database import Database
from portico.storage.inbox import Inbox
from portico.storage.memory import HistoryLine, Memory, MemoryLine
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow


def said(text: str, at: float) -> list[MemoryLine]:
    return [MemoryLine("user", text, at), MemoryLine("assistant", f"re: {text}", at + 1, quotes="m1")]


async def test_a_turn_is_remembered_once(db: Database) -> None:
    memory = Memory(db)
    await memory.remember("c", "t1", said("one", 1))
    await memory.remember("c", "t1", said("one", 1))
    await memory.remember("c", "t2", said("two", 3))
    await memory.remember("d", "t3", said("elsewhere", 2))
    assert [line.text for line in await memory.recent("c", 10)] == ["one", "re: one", "two", "re: two"]
    assert [line.text for line in await memory.recent("c", 2)] == ["two", "re: two"]
    assert (await memory.recent("c", 1))[0].quotes == "m1"


async def test_lines_are_found_by_all_of_their_words(db: Database) -> None:
    memory = Memory(db)
    await memory.remember("c", "t1", said("the Heron stands in the reeds", 1))
    await memory.remember("c", "t2", said("明天的天气怎么样", 3))
    await memory.remember("d", "t3", said("a heron elsewhere", 5))
    assert [line.text for line in await memory.search("c", "REEDS heron")] == [
        "the Heron stands in the reeds",
        "re: the Heron stands in the reeds",
    ]
    assert [line.turn_id for line in await memory.search("c", "天气")] == ["t2", "t2"]
    for nothing in ("heron wolf", "昨天", "", '" OR *', "-"):
        assert await memory.search("c", nothing) == ()


async def test_history_shows_a_message_before_and_after_it_is_remembered_once(db: Database) -> None:
    inbox, outbox, memory = Inbox(db), Outbox(db), Memory(db)
    await inbox.claim("c", ("k1",), "t1", now=1, text="hello", message_id="m1")
    [waiting] = await memory.history("c")
    assert (waiting.role, waiting.text, waiting.turn_id, waiting.message_id) == ("user", "hello", "t1", "m1")

    await outbox.prepare_sent([NewRow("c", "t1", 0, "reply", '{"parts":[]}')], now=2)
    await memory.remember("c", "t1", [MemoryLine("user", "hello", 1), MemoryLine("assistant", "hi", 2)])
    user, reply = await memory.history("c")
    assert user == waiting
    assert (reply.role, reply.seq, reply.turn_id, reply.payload) == ("assistant", 1, "t1", '{"parts":[]}')


async def test_history_shows_a_message_that_was_tried_again_once(db: Database) -> None:
    inbox, memory = Inbox(db), Memory(db)
    await inbox.claim("c", ("k",), "t1", now=1.0, text="hello", message_id="m1")
    await inbox.claim("c", ("retry",), "t2", now=9.0, text="hello", message_id="m1")
    assert [(line.text, line.turn_id) for line in await memory.history("c")] == [("hello", "t1")]
    await memory.remember("c", "t2", [MemoryLine("user", "hello", 1.0), MemoryLine("assistant", "hi", 10.0)])
    assert [line.text for line in await memory.history("c")] == ["hello", "hi"]


async def test_history_shows_a_reply_that_has_no_outbox_row_from_memory(db: Database) -> None:
    memory = Memory(db)
    await memory.remember("c", "t1", said("one", 1))
    assert [line.text for line in await memory.history("c")] == ["one", "re: one"]


async def test_history_hides_what_was_not_sent(db: Database) -> None:
    await Outbox(db).prepare([NewRow("c", "t1", 0, "reply", "{}")], now=2)
    assert await Memory(db).history("c") == ()


async def test_history_is_read_page_by_page(db: Database) -> None:
    inbox, outbox, memory = Inbox(db), Outbox(db), Memory(db)
    for n in range(30):
        await inbox.claim("c", (f"k{n}",), f"t{n}", now=10 * n, text=f"q{n}")
        await outbox.prepare_sent([NewRow("c", f"t{n}", 0, "reply", f"a{n}")], now=10 * n + 1)
        if n % 2:
            await memory.remember("c", f"t{n}", said(f"q{n}", 10 * n))
    pages: list[HistoryLine] = []
    before = None
    while page := await memory.history("c", before, limit=7):
        pages[:0] = page
        before = page[0].at
    assert [line.text or line.payload for line in pages] == [f"{kind}{n}" for n in range(30) for kind in "qa"]


async def test_conversations_of_a_channel_newest_first(db: Database) -> None:
    inbox, memory = Inbox(db), Memory(db)
    for n, chat in enumerate(("ann/1", "ann/2", "bob/1")):
        ref = ConversationRef(id=f"c{n}", channel="web", account="default", chat=chat)
        await inbox.claim(ref.id, ("k",), f"t{n}", now=n, text=f"about {n}", ref=ref)
    listed = await memory.conversations("web", chat_prefix="ann/")
    assert [(one.id, one.title) for one in listed] == [("c1", "about 1"), ("c0", "about 0")]
    assert len(await memory.conversations("web")) == 3
    assert await memory.conversations("telegram") == ()
    one = await memory.conversation("c2")
    assert one is not None
    assert one.chat == "bob/1"
