"""Replies of Portico itself, built from the catalogue of texts. Pure, so that a replay says the same."""

from __future__ import annotations

import re

from portico.contracts.messages import (
    ARTIFACT_KEY,
    Attachment,
    BlobRef,
    Effect,
    ExecutionResult,
    ExecutionStatus,
    FilePart,
)
from portico.contracts.steps import AllowedRoute, ModelAnswer
from portico.contracts.tool_steps import ListedTool, OfferAnswer, ToolWaiting
from portico.texts import catalog
from workflows.state import KeptFile


def text(name: str, language: str, **facts: str) -> str:
    """One of Portico's own sentences. Raises KeyError for a name that does not exist."""
    return catalog.text("replies", name, language, **facts)


def shown(word: str) -> str:
    """Typed text, shortened and as code, so that it is not rendered as CommonMark."""
    return "`" + word[:32].replace("`", "'") + "`"


def attachments_note(attachments: tuple[Attachment, ...], *, language: str, failed: tuple[str, ...]) -> str:
    """What became of attachments, and that they cannot be read yet."""
    stored = [shown(a.name) if a.name else text("file", language) for a in attachments if a.blob is not None]
    lines = []
    if stored:
        lines.append(text("attachments", language, names=", ".join(stored)))
    if failed:
        lines.append(text("attachments_failed", language, names=", ".join(shown(name) for name in failed)))
    return "\n\n".join(lines) or text("attachments_failed", language, names=text("file", language))


def tool_result(result: ExecutionResult, *, language: str) -> str:
    """A tool's end in words; its output as it is where it is text."""
    if result.status is ExecutionStatus.SUCCEEDED:
        return output_text(result)
    reason = result.error.message if result.error else str(result.status)
    if result.error is not None and result.error.code == "ask_again":
        return reason
    name = {
        ExecutionStatus.DENIED: "tool_denied",
        ExecutionStatus.CANCELLED: "tool_cancelled",
        ExecutionStatus.UNKNOWN: "tool_unknown",
        ExecutionStatus.INTERRUPTED: "tool_unknown",
    }.get(result.status, "tool_failed")
    return text(name, language, tool=result.tool_name, reason=reason)


def output_text(result: ExecutionResult) -> str:
    """The `text` of a structured output, a plain string as it is, anything else as JSON would show it."""
    output = result.output
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return output if isinstance(output, str) else str(output)


def kept_files(result: ExecutionResult) -> tuple[KeptFile, ...]:
    """What a run has kept, for the person to see."""
    return tuple(
        KeptFile(
            invocation_id=result.invocation_id,
            name=one.name,
            media_type=one.media_type,
            size_bytes=one.size_bytes,
            url=one.url,
        )
        for one in result.artifacts
    )


def file_parts(files: tuple[KeptFile, ...]) -> tuple[FilePart, ...]:
    """As parts of a reply: a picture where it is one."""
    return tuple(
        FilePart(
            type="image" if one.media_type.startswith("image/") else "file",
            name=one.name,
            media_type=one.media_type,
            blob=BlobRef(key=f"{ARTIFACT_KEY}{one.invocation_id}/{one.name}", size_bytes=one.size_bytes),
            url=one.url,
        )
        for one in files
    )


def tool_list(answer: OfferAnswer, *, language: str) -> str:
    """Every tool in a line: usable ones first."""
    if not answer.tools:
        return text("tools_none", language)
    ordered = sorted(answer.tools, key=lambda tool: (not tool.usable, tool.name))
    lines = "\n".join(f"- {_tool_line(tool, language)}" for tool in ordered)
    problems = "\n".join(f"- {shown_fault(problem)}" for problem in answer.problems)
    more = text("tool_problems", language, lines=problems) if problems else ""
    return text("tools_listed", language, lines=lines) + more


def _tool_line(tool: ListedTool, language: str) -> str:
    line = f"`{tool.name}` – {shown_fault(tool.description)}"
    if tool.unavailable:
        return f"{line} ({text('tool_not_there', language, reason=tool.unavailable)})"
    if tool.effect is Effect.DENY:
        return f"{line} ({text('tool_not_allowed', language, reason=tool.reason)})"
    return f"{line} ({text('tool_asks', language)})" if tool.effect is Effect.ASK else line


def route_list(answer: ModelAnswer, routes: tuple[AllowedRoute, ...], *, pinned: str, language: str) -> str:
    """The routes in the order in which they are tried, and those that policy refuses."""
    lines = []
    for number, allowed in enumerate(routes):
        route = allowed.route
        line = f"- {shown(route.name)} ({route.model}, {text(route.locality, language)})"
        if number == 0:
            line += " – " + text("route_chosen" if route.name == pinned else "route_used", language)
        lines.append(line)
    lines += [f"- {shown_fault(refused)}" for refused in answer.refused]
    return text("routes", language, lines="\n".join(lines))


def approval_text(waiting: ToolWaiting, code: str, *, now: float, language: str) -> str:
    """What is to be done, exactly, and how to answer. What a tool or model wrote stands in a fence."""
    inside = waiting.parameters_shown.replace("`", "'").strip()
    parameters = f"```\n{inside}\n```" if inside else text("no_parameters", language)
    hours = max(1, round((waiting.expires_at - now) / 3600)) if waiting.expires_at else 24
    return text(
        "approval",
        language,
        tool=waiting.tool_name,
        what=text(f"effects_{waiting.effects}", language) if waiting.effects else "?",
        risk=text(f"risk_{waiting.risk}", language) if waiting.risk else "?",
        parameters=parameters,
        code=code,
        hours=str(hours),
    )


def shown_fault(fault: str) -> str:
    """Foreign text on one line, with CommonMark escaped."""
    line = " ".join(fault.split())[:300]
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", line)
