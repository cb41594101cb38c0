"""The person's own files: list, read, write, search, move, delete, pack and unpack.

Everything goes through the workspace, which no path leads out of. What only adds to it counts as reading;
what changes or removes a file that was there counts as writing, and is asked about first.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from activities.functions.archives import LIMITS, ArchiveRefused, entries
from portico.tool import AskAgain, ToolContext, ToolFailed, Workspace, WorkspaceFile, tool

HIDDEN = ".portico/"
"""What tools keep for themselves, such as the browser's cookies: no business of a model that looks around."""
MOST_LISTED = 500
LONGEST_TEXT = 50_000
LONGEST_SEARCHED = 5 * 1024 * 1024
MOST_HITS = 50
CONTEXT = 80

Path = Annotated[str, Field(min_length=1, max_length=1000)]


@tool(effects="read", risk="low", timeout_s=30, repeatable=True)
def files_list(context: ToolContext, folder: str = "") -> dict[str, Any]:
    """List the files in the person's workspace with size and date.

    Args:
        folder: only what lies below this folder; empty for everything
    """
    found = _seen(context.workspace, folder)
    listed = found[:MOST_LISTED]
    lines = [f"{one.path}  {_size(one.size_bytes)}  {one.modified_at:%Y-%m-%d %H:%M}" for one in listed]
    if len(found) > len(listed):
        lines.append(f"… and {len(found) - len(listed)} more; name a folder to see fewer")
    total = sum(one.size_bytes for one in found)
    files = [{"path": one.path, "size_bytes": one.size_bytes, "media_type": one.media_type} for one in listed]
    return {
        "text": "\n".join(lines) or "there are no files",
        "files": files,
        "count": len(found),
        "size_bytes": total,
    }


@tool(effects="read", risk="low", timeout_s=30, repeatable=True)
def files_read(context: ToolContext, path: Path, offset: Annotated[int, Field(ge=0)] = 0) -> dict[str, Any]:
    """Read a text file of the workspace. For docx, xlsx, pptx, pdf, html and mail use documents_read.

    Args:
        path: the file
        offset: the character to begin with, for a file that is too long to be read at once
    """
    text = _text(context.workspace.read(visible(path)), path)
    piece = text[offset : offset + LONGEST_TEXT]
    rest = len(text) - offset - len(piece)
    return {
        "text": piece,
        "characters": len(text),
        "next_offset": offset + len(piece) if rest > 0 else None,
    }


@tool(effects="read", risk="low", timeout_s=60, repeatable=True)
def files_search(context: ToolContext, words: Annotated[str, Field(min_length=1)], folder: str = "") -> Any:
    """Find files of the workspace by name or by text in them.

    Args:
        words: what to look for, in any case
        folder: only below this folder; empty for everything
    """
    wanted, hits = words.casefold(), []
    found = _seen(context.workspace, folder)
    for number, one in enumerate(found):
        context.raise_if_cancelled()
        if number % 20 == 0:
            context.progress(f"looked into {number} of {len(found)} files", number / len(found))
        hit = _hit(context.workspace, one, wanted)
        if hit:
            hits.append(hit)
        if len(hits) >= MOST_HITS:
            break
    lines = [f"{one['path']}:{one['line'] or ''} {one['words']}".rstrip() for one in hits]
    return {"text": "\n".join(lines) or f"nothing holds {words!r}", "hits": hits}


@tool(effects="read", risk="low", timeout_s=30)
def files_write(context: ToolContext, path: Path, text: str) -> dict[str, Any]:
    """Write a new text file into the workspace. A file that is there is not touched; files_replace replaces one.

    Args:
        path: where, such as notes/plan.md
        text: what it holds
    """
    return _written(add(context.workspace, path, text.encode()))


@tool(effects="write", risk="low", timeout_s=30, repeatable=True)
def files_replace(context: ToolContext, path: Path, text: str) -> dict[str, Any]:
    """Replace the whole content of a text file in the workspace.

    Args:
        path: the file
        text: what it holds from now on
    """
    if not context.workspace.exists(visible(path)):
        raise AskAgain(f"there is no {path}; files_write makes a new file")
    return _written(context.workspace.write(path, text.encode()))


@tool(effects="write", risk="low", timeout_s=30)
def files_move(context: ToolContext, path: Path, to: Path) -> dict[str, Any]:
    """Move or rename a file in the workspace. A file that is there is not replaced.

    Args:
        path: the file
        to: its new path
    """
    if context.workspace.exists(visible(to)):
        raise AskAgain(f"{to} is there already")
    return _written(context.workspace.move(visible(path), to))


@tool(effects="write", risk="low", timeout_s=30)
def files_delete(context: ToolContext, path: Path) -> str:
    """Delete a file of the workspace for good.

    Args:
        path: the file
    """
    context.workspace.delete(visible(path))
    return f"{path} is gone"


@tool(effects="read", risk="low", timeout_s=300)
def files_zip(
    context: ToolContext, paths: Annotated[list[Path], Field(min_length=1, max_length=500)], to: Path
) -> dict[str, Any]:
    """Pack files of the workspace into a new zip archive.

    Args:
        paths: files, or folders that end with /
        to: the archive, such as papers.zip
    """
    chosen = _chosen(context.workspace, paths)
    if sum(one.size_bytes for one in chosen) > LIMITS.total_bytes:
        raise ToolFailed(f"together they are larger than {_size(LIMITS.total_bytes)}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(chosen):
            context.raise_if_cancelled()
            context.progress(f"packing {one.path}", number / len(chosen))
            archive.writestr(one.path, context.workspace.read(one.path))
    return {
        **_written(add(context.workspace, to, packed.getvalue())),
        "packed": [one.path for one in chosen],
    }


@tool(effects="read", risk="low", timeout_s=300)
def files_unzip(context: ToolContext, path: Path, to: str = "") -> dict[str, Any]:
    """Unpack a zip archive of the workspace into a folder of it. Files that are there are not replaced.

    Args:
        path: the archive
        to: the folder; empty for one named after the archive
    """
    folder = (to or path.rpartition("/")[2].rpartition(".")[0] or "unpacked").rstrip("/")
    unpacked: list[str] = []
    try:
        for name, data, fraction in entries(context.workspace.read(visible(path))):
            context.raise_if_cancelled()
            context.progress(f"unpacking {name}", fraction)
            unpacked.append(add(context.workspace, f"{folder}/{name}", data).path)
    except ArchiveRefused as refused:
        kept = f" ({len(unpacked)} files were unpacked before)" if unpacked else ""
        raise ToolFailed(f"{path}: {refused}{kept}") from None
    return {"text": f"{len(unpacked)} files in {folder}/", "files": unpacked}


def add(workspace: Workspace, path: str, data: bytes) -> WorkspaceFile:
    """A new file. Raises `AskAgain` where one is there."""
    if workspace.exists(visible(path)):
        raise AskAgain(f"{path} is there already; choose another name")
    return workspace.write(path, data)


def visible(path: str) -> str:
    """The path, if a person may look there. Raises `AskAgain`."""
    if PurePosixPath(path).parts[:1] == (HIDDEN.rstrip("/"),):
        raise AskAgain(f"{HIDDEN} belongs to the tools themselves")
    return path


def _seen(workspace: Workspace, folder: str) -> list[WorkspaceFile]:
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    found = workspace.list(prefix)
    return sorted((one for one in found if not one.path.startswith(HIDDEN)), key=lambda one: one.path)


def _chosen(workspace: Workspace, paths: list[str]) -> list[WorkspaceFile]:
    known = {one.path: one for one in _seen(workspace, "")}
    chosen: dict[str, WorkspaceFile] = {}
    for path in paths:
        below = [name for name in known if name == path or name.startswith(f"{path.rstrip('/')}/")]
        if not below:
            raise AskAgain(f"there is no {path}")
        chosen |= {name: known[name] for name in below}
    return list(chosen.values())


def _hit(workspace: Workspace, one: WorkspaceFile, wanted: str) -> dict[str, Any] | None:
    if one.size_bytes <= LONGEST_SEARCHED:
        data = workspace.read(one.path)
        text = "" if b"\0" in data[:4096] else data.decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            at = line.casefold().find(wanted)
            if at >= 0:
                words = line[max(0, at - CONTEXT) : at + len(wanted) + CONTEXT].strip()
                return {"path": one.path, "line": number, "words": words}
    return {"path": one.path, "line": None, "words": ""} if wanted in one.path.casefold() else None


def _text(data: bytes, path: str) -> str:
    for encoding in ("utf-8-sig", "utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise AskAgain(f"{path} is no text; documents_read reads documents, images_info pictures")


def _written(file: WorkspaceFile) -> dict[str, Any]:
    return {
        "text": f"{file.path}, {_size(file.size_bytes)}",
        "path": file.path,
        "size_bytes": file.size_bytes,
    }


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
