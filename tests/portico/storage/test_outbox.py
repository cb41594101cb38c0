from __future__ import annotations

from collections.abc import Sequence

import pytest

from channels.base import Rates
from portico.errors import NotFound
from portico.storage.engine.database import Database
from portico.storage.outbox import Begun, Outbox
from portico.storage.outbox_rows import NewRow, OutboxRow

FREE = Rates()


def rows(turn: str = "t1", parts: int = 1, conversation: str = "c") -> list[NewRow]:
    return [NewRow(conversation, turn, part, "sendMessage", "{}", "d1") for part in range(parts)]


async def begin(
    outbox: Outbox, row: OutboxRow, *, rates: Rates = FREE, now: float = 1, chat: str = "chat"
) -> Begun:
    return await outbox.begin(
        row.row_id, attempt=row.attempt, rates=rates, account_key="a", chat_key=chat, now=now
    )


async def first_of(outbox: Outbox, new: Sequence[NewRow]) -> tuple[tuple[OutboxRow, ...], Begun | None]:
    return await outbox.prepare_and_begin_first(new, rates=FREE, account_key="a", chat_key="c", now=1)


async def sending(outbox: Outbox, new: Sequence[NewRow] | None = None) -> OutboxRow:
    [row, *_] = await outbox.prepare(new or rows(), now=1)
    begun = await begin(outbox, row)
    assert begun.kind == "go"
    return begun.row


async def test_a_stale_attempt_cannot_finish(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    assert (await begin(outbox, first)).kind == "ambiguous"
    second = await outbox.repeat_marked(first.row_id, attempt=first.attempt)
    assert (second.state, second.marked, second.attempt) == ("ready", True, 2)
    assert not await outbox.finish(first.row_id, attempt=first.attempt, state="sent", platform_id="1", now=2)
    assert (await begin(outbox, second)).kind == "go"
    assert await outbox.finish(first.row_id, attempt=2, state="sent", platform_id="2", now=3)
    stored = await outbox.get(first.row_id)
    assert stored is not None
    assert (stored.state, stored.platform_id, stored.marked) == ("sent", "2", True)


async def test_a_stale_attempt_cannot_begin(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    await outbox.back_to_ready(first.row_id, attempt=1, reason="429")
    assert (await begin(outbox, first)).kind == "stale"


async def test_a_late_end_settles_an_unknown_row_before_it_is_repeated(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    assert (await begin(outbox, first)).kind == "ambiguous"
    assert await outbox.finish(first.row_id, attempt=1, state="sent", platform_id="1", now=2)
    again = await outbox.repeat_marked(first.row_id, attempt=1)
    assert (again.state, again.marked) == ("sent", False)
    assert (await begin(outbox, again)).kind == "already_sent"


async def test_a_definite_refusal_is_tried_again_without_a_mark(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    again = await outbox.back_to_ready(first.row_id, attempt=1, reason="429")
    assert (again.state, again.marked, again.attempt, again.reason) == ("ready", False, 2, "429")
    assert (await begin(outbox, again)).kind == "go"


async def test_a_repeat_with_the_platforms_key_carries_no_mark(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    await outbox.finish(first.row_id, attempt=1, state="unknown", reason="timeout", now=2)
    again = await outbox.repeat_keyed(first.row_id, attempt=1)
    assert (again.state, again.marked, again.attempt) == ("ready", False, 2)


async def test_a_mark_stays_through_a_later_refusal(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    again = await outbox.repeat_marked(first.row_id, attempt=1)
    await begin(outbox, again)
    third = await outbox.back_to_ready(first.row_id, attempt=2, reason="429")
    assert (third.attempt, third.marked) == (3, True)


async def test_a_held_row_is_not_tried_again(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    held = await outbox.hold(first.row_id, reason="timeout")
    assert (held.state, held.held, held.final) == ("unknown", True, True)
    assert (await begin(outbox, held)).kind == "held"
    assert (await outbox.repeat_marked(first.row_id, attempt=1)).state == "unknown"


async def test_a_refused_row_stays_refused(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    assert await outbox.finish(first.row_id, attempt=1, state="refused", reason="blocked", now=2)
    assert (await begin(outbox, first)).kind == "refused"
    assert not await outbox.finish(first.row_id, attempt=1, state="sent", now=3)


async def test_finishing_twice_is_once(db: Database) -> None:
    outbox = Outbox(db)
    first = await sending(outbox)
    assert await outbox.finish(first.row_id, attempt=1, state="sent", platform_id="1", now=2)
    assert await outbox.finish(first.row_id, attempt=1, state="sent", platform_id="1", now=3)


async def test_a_row_that_was_never_begun_cannot_be_finished(db: Database) -> None:
    outbox = Outbox(db)
    [row] = await outbox.prepare(rows(), now=1)
    assert not await outbox.finish(row.row_id, attempt=1, state="sent", now=2)


async def test_an_unknown_row_is_refused_by_name(db: Database) -> None:
    with pytest.raises(NotFound, match="nobody:0"):
        await Outbox(db).hold("nobody:0")


async def test_prepared_rows_are_made_once_with_gapless_numbers(db: Database) -> None:
    outbox = Outbox(db)
    first = await outbox.prepare(rows("t1", 2), now=1)
    other = await outbox.prepare(rows("t9", 1, conversation="d"), now=1)
    again = await outbox.prepare(rows("t1", 3), now=2)
    after = await outbox.prepare(rows("t2", 1), now=3)
    assert [row.seq for row in (*first, *again, *after)] == [1, 2, 1, 2, 3, 4]
    assert [row.seq for row in other] == [1]


async def test_the_common_path_begins_the_first_open_row(db: Database) -> None:
    outbox = Outbox(db)
    made, begun = await outbox.prepare_and_begin_first(
        rows(parts=2), rates=FREE, account_key="a", chat_key="c", now=1
    )
    assert begun is not None
    assert (begun.kind, begun.row.part, made[0].state, made[1].state) == ("go", 0, "sending", "ready")
    await outbox.finish(begun.row.row_id, attempt=1, state="sent", now=1)
    made, begun = await outbox.prepare_and_begin_first(
        rows(parts=2), rates=FREE, account_key="a", chat_key="c", now=1
    )
    assert begun is not None
    assert (begun.kind, begun.row.part) == ("go", 1)
    await outbox.finish(begun.row.row_id, attempt=1, state="refused", now=1)
    made, begun = await outbox.prepare_and_begin_first(
        rows(parts=2), rates=FREE, account_key="a", chat_key="c", now=1
    )
    assert begun is None
    assert [row.state for row in made] == ["sent", "refused"]


async def test_a_reader_of_the_tail_waits_for_a_lower_number(db: Database) -> None:
    outbox = Outbox(db)
    await sending(outbox, rows("t1"))
    await outbox.prepare_sent(rows("t2"), now=2)
    assert await outbox.tail("c", 0) == ()
    await outbox.finish("t1:0", attempt=1, state="unknown", now=2)
    assert await outbox.tail("c", 0) == ()
    await outbox.finish("t1:0", attempt=1, state="sent", now=2)
    assert [row.seq for row in await outbox.tail("c", 0)] == [1, 2]
    assert [row.seq for row in await outbox.tail("c", 1)] == [2]


async def test_a_reader_of_the_tail_passes_what_will_never_be_sent(db: Database) -> None:
    outbox = Outbox(db)
    await sending(outbox, rows("t1"))
    await outbox.hold("t1:0")
    await sending(outbox, rows("t2"))
    await outbox.finish("t2:0", attempt=1, state="refused", now=2)
    await outbox.prepare_sent(rows("t3", 2), now=2)
    assert [row.turn_id for row in await outbox.tail("c", 0)] == ["t3", "t3"]
    assert [row.seq for row in await outbox.recent("c", 1)] == [4]


async def test_a_burst_passes_and_the_next_waits_for_a_place_of_its_own(db: Database) -> None:
    outbox = Outbox(db)
    slow = Rates(per_chat_per_s=1, burst=3)
    made = await outbox.prepare(rows(parts=5), now=100)
    begun = [await begin(outbox, row, rates=slow, now=100) for row in made]
    assert [(one.kind, one.wait_until) for one in begun] == [
        ("go", 0), ("go", 0), ("go", 0), ("wait", 101), ("wait", 102)
    ]  # fmt: skip
    assert (await begin(outbox, made[3], rates=slow, now=100.5)).wait_until == 101
    assert (await begin(outbox, made[3], rates=slow, now=101)).kind == "go"
    assert (await begin(outbox, made[4], rates=slow, now=102)).kind == "go"


async def test_a_busy_chat_does_not_hold_up_the_accounts_other_chats(db: Database) -> None:
    outbox = Outbox(db)
    slow = Rates(per_s=30, per_chat_per_s=1, burst=1)
    busy = await outbox.prepare(rows(parts=20), now=100)
    kinds = [(await begin(outbox, row, rates=slow, now=100, chat="busy")).kind for row in busy]
    assert kinds == ["go"] + ["wait"] * 19
    [other] = await outbox.prepare(rows("t2", conversation="d"), now=100)
    assert (await begin(outbox, other, rates=slow, now=100, chat="quiet")).kind == "go"


async def test_chats_of_one_account_share_its_rate(db: Database) -> None:
    outbox = Outbox(db)
    slow = Rates(per_s=2)
    waits = []
    for n in range(5):
        [row] = await outbox.prepare(rows(f"t{n}", conversation=f"c{n}"), now=100)
        waits.append((await begin(outbox, row, rates=slow, now=100, chat=f"chat{n}")).wait_until)
    assert waits == [0, 0, 100.5, 101, 101.5]


async def test_a_clock_that_was_set_back_does_not_stop_sending(db: Database) -> None:
    outbox = Outbox(db)
    slow = Rates(per_chat_per_s=1, burst=1)
    made = await outbox.prepare(rows(parts=2), now=100)
    assert (await begin(outbox, made[0], rates=slow, now=1_000_000)).kind == "go"
    assert (await begin(outbox, made[1], rates=slow, now=100)).kind == "go"
