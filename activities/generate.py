"""Lets a language model answer, and shows web chats the text while it grows.

A web chat gets live updates, at most `PIECES_PER_S` a second, never stored, replaced by the final reply:

    {"kind": "delta", "turn": TURN_ID, "offset": N, "text": PIECE}

`offset` counts the code points that came before the piece in this attempt. 0 begins the text, also when a
repeated attempt begins it anew; a reader whose text is not `offset` long has missed a piece and waits for the
next 0 or for the reply.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

from temporalio import activity

from activities.heartbeat import beating
from portico.clients.llm import Delta, ModelRoutes
from portico.contracts import ConversationRef
from portico.errors import TooLarge
from portico.steps import DialogueLine, Generated, GenerateInput
from portico.storage.live import LivePublisher

PIECES_PER_S = 20
DIALOGUE_CHARACTERS = 12_000
"""What small local models hold beside the answer; older lines are left out."""
LONGEST_ANSWER = 100_000

_RULES_IN = (
    "You are the assistant of a private gateway named Portico. Today is {today}. Answer in %s, briefly and to "
    "the point. You cannot look anything up, run anything or send anything in this answer; when asked to, "
    "say so. When you do not know, say that you do not know."
)
_RULES = {
    "en": _RULES_IN % "English",
    "zh": (
        "你是私人网关 Portico 的助手。今天是 {today}。请用中文回答，简短、切题。"
        "在这次回答中你不能查资料、运行程序或发送东西；有人要求时请直说。不知道的就说不知道。"
    ),
    "": _RULES_IN % "the language of the person's last message",
}
_ENDED_EARLY = {
    "length": {
        "en": "(The model stopped here: its limit is reached.)",
        "zh": "（模型到达长度上限，回答在此中断。）",
    },
    "time_limit": {
        "en": "(Cut off here: the model took too long.)",
        "zh": "（模型用时过长，回答在此中断。）",
    },
}
_EMPTY = {"en": "(The model gave no answer.)", "zh": "（模型没有给出回答。）"}


class GenerateSteps:
    """The step that asks a model."""

    def __init__(self, routes: ModelRoutes, live: LivePublisher) -> None:
        self._routes = routes
        self._live = live

    @activity.defn(name="generate")
    async def generate(self, step: GenerateInput) -> Generated:
        """The whole answer. A stop hangs up on the model at once; a failure is Temporal's to repeat."""
        shown = ShownText(self._live, step.conversation, step.turn_id)
        last = Delta()
        try:
            async with beating(), aclosing(self._routes.stream(step.route, messages(step))) as answer:
                async for delta in answer:
                    shown.add(delta.text)
                    last = delta
        finally:
            shown.end()
        return Generated(
            text=in_full(shown.text, last.finish, language=step.language),
            route=step.route.name,
            input_tokens=last.input_tokens,
            output_tokens=last.output_tokens,
        )


def messages(step: GenerateInput) -> list[dict[str, str]]:
    """What the model is told: the rules, the newest lines of the dialogue that fit, and the question."""
    rules = _RULES.get(step.language, _RULES[""]).format(today=datetime.now(UTC).date().isoformat())
    lines = newest(step.dialogue, room=DIALOGUE_CHARACTERS - len(step.text))
    return [
        {"role": "system", "content": rules},
        *({"role": line.role, "content": line.text} for line in lines),
        {"role": "user", "content": step.text},
    ]


def newest(dialogue: tuple[DialogueLine, ...], *, room: int) -> tuple[DialogueLine, ...]:
    """The last lines that fit into `room` characters together, beginning with one of the person's."""
    first = len(dialogue)
    while first and len(dialogue[first - 1].text) <= room:
        first -= 1
        room -= len(dialogue[first].text)
    while first < len(dialogue) and dialogue[first].role != "user":
        first += 1
    return dialogue[first:]


def in_full(text: str, finish: str, *, language: str) -> str:
    """The answer as it is sent: an early end and an empty answer are said, not hidden."""
    nearest = "zh" if language == "zh" else "en"
    answer = text.strip()
    if not answer:
        return _EMPTY[nearest]
    note = _ENDED_EARLY.get(finish)
    return f"{answer}\n\n{note[nearest]}" if note else answer


class ShownText:
    """The answer so far, and what of it the reader has been sent. Pieces are gathered to spare the pages."""

    def __init__(self, live: LivePublisher, conversation: ConversationRef, turn_id: str) -> None:
        self.text = ""
        self._live = live
        self._conversation = conversation
        self._turn_id = turn_id
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def add(self, piece: str) -> None:
        """Take a piece; it is sent now, or together with others when 1/20 s is over."""
        if not piece:
            return
        self.text += piece
        if len(self.text) > LONGEST_ANSWER:
            raise TooLarge("the model's answer", limit_bytes=LONGEST_ANSWER)
        if self._conversation.channel != "web" or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if (wait_s := self._not_before - loop.time()) <= 0:
            self._send()
        else:
            self._timer = loop.call_later(wait_s, self._send)

    def end(self) -> None:
        """Send what is left."""
        if self._timer is not None:
            self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        piece, offset = self.text[self._sent :], self._sent
        self._sent = len(self.text)
        self._not_before = asyncio.get_running_loop().time() + 1 / PIECES_PER_S
        update = {"kind": "delta", "turn": self._turn_id, "offset": offset, "text": piece}
        self._live.publish(self._conversation.id, update)
