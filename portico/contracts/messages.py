"""Contracts that cross folders: one object in and one out of each activity, signal and update.

All are frozen. Unknown fields are ignored and every field added later has a default, so that data of older
versions stays readable. Times are seconds since the epoch unless they are `datetime`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class Contract(BaseModel):
    """Base: immutable, tolerant of fields from a newer version."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class WireContract(BaseModel):
    """Base of the two camelCase objects."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True
    )


# --- inbound -------------------------------------------------------------------------------------


class BlobRef(Contract):
    """An encrypted blob in S3. `sha256` is of the plain content."""

    key: str
    size_bytes: int
    sha256: str = ""


class Attachment(Contract):
    """A file of a message. `blob` is set once it is stored; until then `platform_ref` names it at the platform."""

    name: str = ""
    media_type: str = "application/octet-stream"
    size_bytes: int = 0
    blob: BlobRef | None = None
    platform_ref: str = ""


class InboundEvent(Contract):
    """One verified event of a platform. `body` is this event's part of the request."""

    channel: str
    account: str
    chat: str
    dedup_keys: tuple[str, ...]
    received_at: float
    body: dict[str, JsonValue]
    attachments: tuple[Attachment, ...] = ()


class Envelope(Contract):
    """The conversation's signal. These fields are permanent; the body is read later, by `normalize`.

    `schema_version` says which release wrote it. A body over the signal's limit is stored in `body_blob`.
    """

    schema_version: int = Field(default=1, alias="schema")
    dedup_keys: tuple[str, ...] = ()
    received_at: float = 0.0
    turn: str = ""
    """Turn id, created by the edge for this arrival; a repeat has another one, which is how it is recognized."""
    body: Any = None
    body_blob: BlobRef | None = None
    attachments: tuple[Attachment, ...] = ()

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)


class Sender(Contract):
    """The author, as the platform identifies them."""

    id: str
    name: str = ""
    is_bot: bool = False


class MessageKind(StrEnum):
    TEXT = "text"
    COMMAND = "command"
    BUTTON = "button"
    PAIR = "pair"
    MEDIA = "media"


class Message(Contract):
    """A person's message, in one shape for all platforms."""

    id: str
    sender: Sender
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    kind: MessageKind = MessageKind.TEXT
    reply_to: str = ""
    sent_at: float = 0.0
    locale: str = ""
    group: bool = False
    addressed: bool = True
    """False for a group message that neither mentions the bot nor replies to it."""


class Ignored(Contract):
    """An event that needs no turn: an edit, a reaction, a service message."""

    why: str


class ConversationRef(Contract):
    """Which conversation: the workflow's id and the platform's address of it."""

    id: str
    channel: str
    account: str
    chat: str
    data_class: str = "local"


# --- understanding and deciding ------------------------------------------------------------------


class Understanding(Contract):
    """Result of the intent model. `embedding_ref` names the vector in the worker's cache; it is never the vector."""

    intent: str = "out_of_scope"
    score: float = 0.0
    language: str = "en"
    head_version: str = ""
    embedding_ref: str = ""


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


class Obligation(Contract):
    """An action that a decision requires."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str


class Decision(Contract):
    """A decision of OPA. `revision` names the bundle that made it; the gateway creates the id."""

    effect: Effect
    reasons: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    decision_id: str = ""
    revision: str = ""

    @property
    def allowed(self) -> bool:
        return self.effect is Effect.ALLOW

    def obliges(self, kind: str) -> bool:
        return any(obligation.kind == kind for obligation in self.obligations)


ADMIN_ROLES = ("owner", "admin")
"""Roles that administer Portico, and answer approvals of others' tool runs. Policy decides in the end."""


class Actor(Contract):
    """A person, device or service as Portico knows it."""

    id: str = ""
    role: str = "guest"
    paired: bool = False


# --- outbound ------------------------------------------------------------------------------------


class TextPart(Contract):
    """Text in CommonMark."""

    type: Literal["text"] = "text"
    text: str


ARTIFACT_KEY = "artifact:"
"""Prefix of the key of a blob that a tool run stored: `artifact:INVOCATION/NAME`."""


class FilePart(Contract):
    """A file or an image, by reference. `url` is its address at the edge, which requires a login."""

    type: Literal["image", "file"] = "file"
    name: str = ""
    media_type: str = "application/octet-stream"
    blob: BlobRef
    url: str = ""


class Choice(Contract):
    label: str
    value: str


class ChoicesPart(Contract):
    """Buttons where the platform has them, a numbered list elsewhere."""

    type: Literal["choices"] = "choices"
    text: str
    choices: tuple[Choice, ...]


class CardPart(Contract):
    """A title with lines, for platforms that show cards."""

    type: Literal["card"] = "card"
    title: str
    text: str = ""
    url: str = ""


Part = Annotated[TextPart | FilePart | ChoicesPart | CardPart, Field(discriminator="type")]


class Reply(Contract):
    """A reply before rendering. `written_by` names the model route that wrote it, if any."""

    parts: tuple[Part, ...]
    quotes: str = ""
    written_by: str = ""

    @classmethod
    def of_text(cls, text: str, *, quotes: str = "", written_by: str = "") -> Reply:
        return cls(parts=(TextPart(text=text),), quotes=quotes, written_by=written_by)


class Outgoing(Contract):
    """One call of a platform's API, with its method and payload. `turn` is the turn that it answers."""

    chat: str
    method: str
    payload: dict[str, JsonValue]
    turn: str = ""


class Sent(Contract):
    """The platform accepted it."""

    outcome: Literal["sent"] = "sent"
    platform_id: str = ""


class NotSent(Contract):
    """The platform definitely did not accept it. `permanent`: a retry would fail too."""

    outcome: Literal["not_sent"] = "not_sent"
    reason: str
    permanent: bool = False
    retry_after_s: float | None = None


class Unknown(Contract):
    """Unknown whether the platform accepted it (timeout after the request was written)."""

    outcome: Literal["unknown"] = "unknown"
    reason: str


# --- tools ---------------------------------------------------------------------------------------


class ToolInvocation(WireContract):
    """Tool name, parameters and callback URL (camelCase on the wire)."""

    tool_name: str
    parameters: dict[str, JsonValue] = {}
    callback_url: str | None = None


class ExecutionStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"


class Artifact(WireContract):
    name: str
    media_type: str
    size_bytes: int
    url: str


class ExecutionError(WireContract):
    code: str
    message: str


class ExecutionResult(WireContract):
    """Result of an invocation (camelCase on the wire)."""

    invocation_id: str
    tool_name: str
    status: ExecutionStatus
    output: JsonValue = None
    output_blob: BlobRef | None = None
    """The whole output where it is too large for a payload; `output` is then its beginning."""
    artifacts: tuple[Artifact, ...] = ()
    error: ExecutionError | None = None
    decision_id: str = ""
    started_at: datetime = Field(default_factory=lambda: datetime.fromtimestamp(0, UTC))
    ended_at: datetime | None = None
