from __future__ import annotations

import pytest

from tests.workflows.harness import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_command_is_answered(world: World) -> None:
    chat = world.new_chat()
    await world.say("/help", chat=chat)
    (reply,) = await world.replies(chat)
    assert "private gateway" in reply.text


async def test_a_tool_answers_with_a_quote_of_the_message(world: World) -> None:
    chat = world.new_chat()
    update = await world.say("/calc 17 * 23", chat=chat)
    (reply,) = await world.replies(chat)
    assert "391" in reply.text
    assert reply.payload["reply_parameters"]["message_id"] == update["message"]["message_id"]
