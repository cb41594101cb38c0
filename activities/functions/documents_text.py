"""Any document as Markdown, by markitdown; mail by the standard library. Part of `documents`."""

from __future__ import annotations

import io
import os
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from activities.functions.documents_check import PLAIN
from portico.tool import ToolFailed

HEADERS = ("From", "To", "Cc", "Date", "Subject")
DEEPEST_PARTS = 100
ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")


def markdown_of(data: bytes, kind: str, name: str) -> str:
    """Raises `ToolFailed` where the document is damaged."""
    if kind == "eml":
        return _mail(data)
    if kind in PLAIN and kind != "csv":
        return decoded(data)
    text = _by_library(decoded(data).encode() if kind in ("html", "csv") else data, kind, name)
    if kind == "pdf" and not text.strip():
        raise ToolFailed(
            f"{name} holds no text: it is a scan, and reading pictures is not among what is done here"
        )
    return text.strip() + "\n"


def decoded(data: bytes) -> str:
    for encoding in ENCODINGS:
        if encoding == "utf-16" and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _by_library(data: bytes, kind: str, name: str) -> str:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251 - read by a library that markitdown brings
    from markitdown import MarkItDown, MarkItDownException, StreamInfo, converters

    reader = MarkItDown(
        enable_builtins=False, enable_plugins=False
    )  # else what is damaged is told as plain text
    reader.register_converter(getattr(converters, f"{kind.capitalize()}Converter")())
    info = StreamInfo(extension=f".{kind}", charset="utf-8" if kind in ("html", "csv") else None)
    try:
        return str(reader.convert_stream(io.BytesIO(data), stream_info=info).markdown)
    except (
        SyntaxError,
        MarkItDownException,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    ):
        raise ToolFailed(f"{name} cannot be read: it is damaged, or not what its name says") from None


def _mail(data: bytes) -> str:
    message = BytesParser(policy=policy.default).parsebytes(data)
    head = [f"**{name}:** {_header(message, name)}" for name in HEADERS if message[name]]
    body = message.get_body(preferencelist=("plain", "html"))
    text = _content(body) if isinstance(body, EmailMessage) else ""
    if isinstance(body, EmailMessage) and body.get_content_subtype() == "html":
        text = _by_library(text.encode(), "html", "the mail")
    names = [part.get_filename() or "without a name" for part in _attachments(message)]
    foot = f"\n\n**Attachments:** {', '.join(names)}" if names else ""
    return "  \n".join(head) + f"\n\n{text.strip()}{foot}\n"


def _header(message: Any, name: str) -> str:
    return " ".join(str(message[name]).split())


def _content(part: EmailMessage) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError, ValueError):
        payload = part.get_payload(decode=True)
        return decoded(payload) if isinstance(payload, bytes) else ""


def _attachments(message: Any) -> list[EmailMessage]:
    return list(message.iter_attachments())[:DEEPEST_PARTS] if message.is_multipart() else []
