"""`/v1/chat`: the WebSocket of the chat page, also for programs.

JSON frames. Client: `{"type":"hello","after":SEQ,"conversation":NAME|null}` first, then
`{"type":"message","id":UUID,"text":…}` and `{"type":"stop"}`. Server: `hello`, `ack{id,turn}` (the message is
stored), `status{turn,state}`, `delta{turn,text,offset}`, `progress{invocation,tool,text,fraction}`,
`reply{seq,turn,parts}`, `error{code,detail,id?}`.
A client resumes with the last sequence number it has; a message sent again with the same id is one turn.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketState

from api.chat.conversations import (
    MAIN,
    Replies,
    history_url,
    replies_of,
    reply_frame,
    turn_of_row,
    workflow_of,
)
from api.chat.messages import STOP, AttachmentBody, MessageBody, accept, next_update
from api.deps import AppDeps, app_deps, principal_of
from portico.errors import BadInput, PorticoError, TooMany
from portico.problems import first_problem
from portico.storage.access import Principal

router = APIRouter(tags=["chat"])

FRAME_LIMIT = 1024 * 1024
HELLO_TIMEOUT_S = 10
MESSAGE_ID_LENGTH = 128
REMEMBERED_TURNS = 50
LAST_SEQ = 2**53
CLOSE_REFUSED = 4401
CLOSE_BAD = 4400
MessageFrame = TypeAdapter(dict[str, Any])


class Hello(BaseModel):
    model_config = ConfigDict(extra="ignore")
    after: int = Field(0, ge=0, le=LAST_SEQ)
    conversation: str | None = None


class SentMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str = Field(min_length=1, max_length=128)
    text: str = ""
    locale: str = ""
    attachments: list[AttachmentBody] = []


@router.websocket("/v1/chat")
async def chat(socket: WebSocket) -> None:
    """One connection is one conversation of one person."""
    deps = app_deps(socket)
    await socket.accept()
    try:
        person = await principal_of(socket)
    except PorticoError as error:
        await _refuse(socket, error, CLOSE_REFUSED)
        return
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = Hello.model_validate(await _frame(socket, kind="hello"))
        workflow_id = workflow_of(deps, person, hello.conversation)
    except (ValidationError, BadInput, TimeoutError):
        await _refuse(
            socket,
            BadInput("the first frame is {'type':'hello','after':SEQ,'conversation':NAME|null}"),
            CLOSE_BAD,
        )
        return
    except WebSocketDisconnect:
        return
    await ChatSession(socket, deps, person, hello, workflow_id).run()


class ChatSession:
    """Reads frames and writes replies until either side is gone."""

    def __init__(
        self, socket: WebSocket, deps: AppDeps, person: Principal, hello: Hello, workflow_id: str
    ) -> None:
        self._socket = socket
        self._deps = deps
        self._person = person
        self._conversation = hello.conversation or MAIN
        self._after = hello.after
        self._workflow_id = workflow_id
        self._unanswered: dict[str, float] = {}
        self._answered: deque[str] = deque(maxlen=REMEMBERED_TURNS)
        self._told: set[str] = set()

    async def run(self) -> None:
        await self._socket.send_json(
            {
                "type": "hello",
                "conversation": self._conversation,
                "history_url": history_url(self._deps, self._workflow_id),
            }
        )
        async with replies_of(self._deps, self._workflow_id, after=self._after) as replies:
            tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write(replies))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            except WebSocketDisconnect:
                return
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            frame: dict[str, Any] = {}
            try:
                frame = await _frame(self._socket)
                await self._handle(frame)
            except ValidationError as error:
                await self._error(BadInput(f"a frame cannot be read: {first_problem(error).text}"), frame)
            except PorticoError as error:
                await self._error(error, frame)

    async def _handle(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type")
        if kind == "message":
            said = SentMessage.model_validate(frame)
            body = _body(said, self._conversation)
            answer = await accept(self._deps, self._person, body)
            if answer.turn not in self._answered:  # a fast reply can overtake its own ack
                self._unanswered.setdefault(answer.turn, time.monotonic())
            await self._socket.send_json({"type": "ack", "id": said.id, "turn": answer.turn})
        elif kind == "stop":
            body = MessageBody(id=uuid.uuid4().hex, conversation=self._conversation, text=STOP)
            await accept(self._deps, self._person, body)
        elif kind != "hello":
            raise BadInput("a frame's type is 'message' or 'stop'")

    async def _write(self, replies: Replies) -> None:
        while True:
            for row in await replies.unread():
                self._answered.append(turn_of_row(row))
                self._unanswered.pop(turn_of_row(row), None)
                await self._socket.send_json({"type": "reply", **reply_frame(row)})
            await self._forward(await next_update(replies.updates))
            await self._tell_who_waits()

    async def _forward(self, update: dict[str, Any] | None) -> None:
        if update is None or update["kind"] not in ("delta", "status", "progress"):
            return
        frame = {key: value for key, value in update.items() if key != "kind"}
        await self._socket.send_json({"type": update["kind"], **frame})

    async def _tell_who_waits(self) -> None:
        """A turn that has no reply after a while waits for a part: say so, once."""
        late = time.monotonic() - self._deps.settings.limits.waiting_after_s
        for turn, since in self._unanswered.items():
            if since < late and turn not in self._told:
                self._told.add(turn)
                await self._socket.send_json({"type": "status", "turn": turn, "state": "waiting"})

    async def _error(self, error: PorticoError, given: dict[str, Any]) -> None:
        """Names the message that it is about, where the frame had one."""
        frame: dict[str, Any] = {"type": "error", "code": error.code, "detail": error.message}
        if isinstance(given.get("id"), str):
            frame["id"] = given["id"][:MESSAGE_ID_LENGTH]
        if isinstance(error, TooMany):
            frame["retry_after_s"] = error.retry_after_s
        await self._socket.send_json(frame)


def _body(said: SentMessage, conversation: str) -> MessageBody:
    return MessageBody(
        id=said.id,
        conversation=conversation,
        text=said.text,
        locale=said.locale,
        attachments=said.attachments,
    )


async def _frame(socket: WebSocket, *, kind: str | None = None) -> dict[str, Any]:
    """One JSON object. Raises `BadInput` for anything else."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code") or 1000)
    text = message.get("text")
    if text is None:
        raise BadInput("a frame is text, not bytes")
    if len(text) > FRAME_LIMIT:
        raise BadInput("a frame is too large")
    try:
        frame = MessageFrame.validate_json(text)
    except ValidationError:
        raise BadInput("a frame is one JSON object") from None
    if kind is not None and frame.get("type") != kind:
        raise BadInput(f"a frame of type {kind!r} was expected")
    return frame


async def _refuse(socket: WebSocket, error: PorticoError, code: int) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        await socket.send_json({"type": "error", "code": error.code, "detail": error.message})
        await socket.close(code)
