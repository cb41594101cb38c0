"""Records the saved histories, payloads and fingerprints anew: `python -m tests.replay.record`.

Run it after a change to workflows or contracts that was made on purpose. `--fingerprints` writes only those.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from portico.errors import NotFound, Unavailable
from portico.temporal.codec import EncryptionCodec
from tests.fakes.telegram import refuse
from tests.replay import contracts, fingerprints
from tests.replay.plain import save
from tests.support import INNER, RunningStack
from tests.workflows.harness import World, eventually, open_world

FREE_TEXT = "Write a short poem about the rain in November"


class Recorder:
    """Plays one scene after another, each in a chat of its own, and saves its history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._codec = EncryptionCodec(world.ground.keyring)

    async def keep(
        self, name: str, chat: int, *, account: str = "default", run_id: str | None = None
    ) -> None:
        await self.keep_run(name, self.world.id_of(chat, account=account), run_id=run_id)

    async def keep_run(self, name: str, workflow_id: str, *, run_id: str | None = None) -> None:
        await asyncio.sleep(0.3)  # the last workflow task completes after the last reply
        handle = self.world.client.get_workflow_handle(workflow_id, run_id=run_id)
        save(name, await handle.fetch_history(), self._codec)

    async def scene(self, name: str, *texts: str, account: str = "default") -> int:
        chat = self.world.new_chat()
        for number, text in enumerate(texts, 1):
            await self.world.say(text, chat=chat, account=account)
            await self.world.replies(chat, number)
        await self.keep(name, chat, account=account)
        self.world.faults.clear()
        return chat


async def record_turns(recorder: Recorder) -> None:
    world = recorder.world
    await recorder.scene("text_turn", "what can you do?", "/help")
    chat = await recorder.scene("tool_turn", "/calc 2 + 3")
    await recorder.keep_run("tool_run", _last_tool(world))
    world.model.say("The rain", " falls.")
    await recorder.scene("model_turn", FREE_TEXT)
    await recorder.scene("pairing", "hello", account="paired")
    update = await world.say("/help", chat=chat)
    await world.replies(chat, 2)
    await world.handle(chat).terminate("recorded")
    await world.tell(update)
    await world.say("/help", chat=chat)
    await world.replies(chat, 3)
    await recorder.keep("repeat_after_termination", chat)


async def record_failures(recorder: Recorder) -> None:
    world = recorder.world
    world.faults.fail("understand", NotFound("something"))
    await recorder.scene("dead_letter", "what can you do?")
    world.faults.fail("understand", Unavailable("triton"), times=3)
    await recorder.scene("part_away", "what can you do?")
    world.faults.fail("execute_tool", RuntimeError("a bug"))
    await recorder.scene("tool_step_failed", "/calc 1 + 1")
    await recorder.keep_run("tool_run_step_failed", _last_tool(world))
    chat = world.new_chat()
    world.telegram.script("sendMessage", refuse(403, "Forbidden: bot was blocked by the user"))
    await world.say("/help", chat=chat)
    await world.letter(chat)
    await recorder.keep("delivery_refused", chat)


async def record_stops(recorder: Recorder) -> None:
    world, chat = recorder.world, recorder.world.new_chat()
    world.model.say("The rain", " falls", stop_after=1)
    await world.say(FREE_TEXT, chat=chat)
    await world.model.until(lambda: world.model.open_streams == 1)
    await world.say("/stop", chat=chat)
    await world.replies(chat)
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    await world.say("/stop", chat=chat)
    await world.replies(chat, 3)
    world.gate.open.set()
    await recorder.keep("stop", chat)
    await recorder.keep_run("tool_run_stopped", _last_tool(world))


async def record_renewal(recorder: Recorder) -> None:
    world, chat = recorder.world, recorder.world.new_chat()
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    fault = world.faults.hang("deliver")
    await world.say("/first", chat=chat)
    await fault.reached.wait()
    await world.say("/second", chat=chat)
    await eventually(lambda: len(world.faults.called("authorize_inbound")) >= 3)
    before = await world.run_id(chat)
    await world.handle(chat).signal("renew")
    await world.say("/third", chat=chat)
    fault.released.set()
    after = await world.renewed(chat, before)
    await world.replies(chat, 3)
    world.gate.open.set()
    await world.replies(chat, 4)
    await recorder.keep("renewal_before", chat, run_id=before)
    await recorder.keep("renewal_after", chat, run_id=after)


async def record_tools(recorder: Recorder) -> None:
    """What a model and a person do with tools."""
    world = recorder.world
    await recorder.scene(
        "tool_commands", "/tools", "/tool calculater 1", "/tool calculator 2 + 3", "/model main"
    )
    world.model.call("nothing", {}, text="Let me see.")
    world.model.call("calculator", {"expression": "2 + 3"})
    world.model.say("It is 5.")
    await recorder.scene("model_tool_turn", FREE_TEXT)
    chat = world.new_chat()
    await world.pair(chat, role="owner")
    await world.say("/tool note milk", chat=chat)
    await _answer(world, chat, "approve", replies=1)
    await recorder.keep_run("tool_run_approved", _last_tool(world))
    world.model.call("note", {"text": "tea"})
    world.model.say("Then not.")
    await world.say(FREE_TEXT, chat=chat)
    await world.replies(chat, 4)
    before = await world.run_id(chat)
    await world.handle(chat).signal("renew")
    after = await world.renewed(chat, before)
    await _answer(world, chat, "deny", replies=4)
    await recorder.keep("approval_before", chat, run_id=before)
    await recorder.keep("approval_after", chat, run_id=after)
    (run,) = [call.given for call in world.faults.called("authorize_tool") if "tea" in str(call.given)]
    await recorder.keep_run("tool_run_denied", run.invocation_id)


async def _answer(world: World, chat: int, word: str, *, replies: int) -> None:
    """Answer the question that is the last of so many replies; two more follow."""
    question = (await world.replies(chat, replies))[-1]
    found = re.search(r"/approve ([A-Z]{6})", question.text)
    assert found is not None, question.text
    await world.say(f"/{word} {found[1]}", chat=chat)
    await world.replies(chat, replies + 2)


def _last_tool(world: World) -> str:
    return str(world.faults.called("execute_tool")[-1].given.invocation_id)


async def record(root: Path) -> None:
    stack = RunningStack(root / "stack", only=INNER)
    stack.start()
    try:
        async with open_world(stack, root / "world") as world, world.worker():
            recorder = Recorder(world)
            for scenes in (record_turns, record_failures, record_stops, record_renewal, record_tools):
                await scenes(recorder)
    finally:
        stack.stop()


def main() -> None:
    if "--fingerprints" not in sys.argv:
        with tempfile.TemporaryDirectory(prefix="portico-record-") as root:
            asyncio.run(record(Path(root)))
        contracts.save_payloads()
    fingerprints.save()


if __name__ == "__main__":
    main()
