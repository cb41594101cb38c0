"""Where language models are fetched from, and what every place can do: list its files and send one from a byte on.

PATH                 a folder of this machine
s3://BUCKET/PREFIX   any S3
https://…            a folder on a web server, with a manifest of its own
OWNER/NAME[/FOLDER][@REVISION]   a model hub with Hugging Face's interface
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from portico.errors import BadInput, Misconfigured, NotFound
from portico.llm.library.store import MANIFEST
from portico.llm.library.web import WebClient

FILES = 2_000
NEEDED = ("genai_config.json", "tokenizer.json")
CHUNK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+(@[\w./-]+)?")


@dataclass(frozen=True)
class SourceFile:
    """A file as its place describes it. `tag` changes with its content where no checksum is given."""

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Reading:
    """The bytes from `start` on, which is 0 where the place could not begin later."""

    start: int
    chunks: AsyncIterator[bytes]


class Source(Protocol):
    """One model at one place. `told` is its name for people, without credentials."""

    told: str

    async def files(self) -> list[SourceFile]: ...
    def read(self, file: SourceFile, start: int) -> AbstractAsyncContextManager[Reading]: ...


def is_hub_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and ".." not in text


def usual_name(text: str) -> str:
    """The default name of a model: the last part of its location."""
    last = PurePosixPath(text.partition("@")[0].rstrip("/")).name if "://" not in text else ""
    last = last or PurePosixPath(urlsplit(text).path.rstrip("/")).name or urlsplit(text).netloc
    return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")[:64]


def checked_path(name: object) -> str:
    """A relative path that stays in its folder. Raises `BadInput`: a place that names others is up to no good."""
    if isinstance(name, str) and name and len(name) <= 300 and "\\" not in name and name.isprintable():
        path = PurePosixPath(name)
        parts = name.split("/")
        if not path.is_absolute() and not {"..", ".", ""} & set(parts) and not name.endswith(".partial"):
            return name
    raise BadInput(f"the place names a file that no model has: {str(name)[:100]!r}")


class FolderSource:
    """A folder of this machine. Its files are copied, so that they cannot change later."""

    def __init__(self, path: Path) -> None:
        inner = path / "1" / "weights"  # one of our own, perhaps from another home
        self._folder = inner if inner.is_dir() else path
        self.told = str(path)

    async def files(self) -> list[SourceFile]:
        found = []
        whole = (self._folder / NEEDED[0]).exists()  # else it is no model, and may be a whole disk
        for path in sorted(self._folder.rglob("*") if whole else self._folder.iterdir()):
            name = path.relative_to(self._folder).as_posix()
            if path.is_symlink() and not self._leads_to_own(path):
                raise BadInput(f"{name} is a link that leads out of its folder")
            if path.is_file() and name != MANIFEST and not name.startswith("."):
                stat = path.stat()
                found.append(SourceFile(checked_path(name), stat.st_size, tag=str(stat.st_mtime_ns)))
        known = _told_files(self._folder / MANIFEST)
        return [_with_checksum(file, known) for file in found]

    def _leads_to_own(self, path: Path) -> bool:
        """Inside the folder, or to the blobs of a hub's cache (snapshots/REVISION/FILE → blobs/…)."""
        target, folder = path.resolve(), self._folder.resolve()
        if target.is_relative_to(folder):
            return True
        return folder.parent.name == "snapshots" and target.parent == folder.parent.parent / "blobs"

    @asynccontextmanager
    async def read(self, file: SourceFile, start: int) -> AsyncIterator[Reading]:
        with (self._folder / file.path).open("rb") as opened:
            opened.seek(start)
            yield Reading(start, _chunks(opened))


class WebSource:
    """A folder on a web server. Its `manifest.json` names the files with size and SHA-256."""

    def __init__(self, url: str, web: WebClient) -> None:
        self._base = url.rstrip("/") + "/"
        self._web = web
        parts = urlsplit(self._base)
        self.told = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def files(self) -> list[SourceFile]:
        try:
            raw = await self._web.get(self._base + MANIFEST)
        except NotFound:
            raise Misconfigured(
                f"{self.told} has no {MANIFEST}, which says what belongs to the model"
            ) from None
        return files_of(raw, self.told)

    def read(self, file: SourceFile, start: int) -> AbstractAsyncContextManager[Reading]:
        return reading(self._web, self._base + quote(file.path), start)


@asynccontextmanager
async def reading(
    web: WebClient, url: str, start: int, headers: dict[str, str] | None = None
) -> AsyncIterator[Reading]:
    async with web.stream(url, start=start, headers=headers) as (begins, chunks):
        yield Reading(begins, chunks)


def files_of(raw: bytes, where: str) -> list[SourceFile]:
    """The files that a manifest names. Raises `BadInput` for a damaged one or paths outside of the folder."""
    try:
        told: dict[str, Any] = json.loads(raw)["files"]
        pairs = [(checked_path(name), int(file["size"]), str(file["sha256"])) for name, file in told.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(
            f"the {MANIFEST} of {where} is damaged: it names no files with size and sha256"
        ) from None
    if len(pairs) > FILES or any(size < 0 or not _SHA256.fullmatch(digest) for _, size, digest in pairs):
        raise BadInput(f"the {MANIFEST} of {where} is damaged: sizes and sha256 are not such")
    return [SourceFile(name, size, sha256=digest) for name, size, digest in pairs]


def _told_files(path: Path) -> dict[str, SourceFile]:
    if not path.is_file():
        return {}
    return {file.path: file for file in files_of(path.read_bytes(), str(path.parent))}


def _with_checksum(file: SourceFile, known: dict[str, SourceFile]) -> SourceFile:
    told = known.get(file.path)
    return SourceFile(file.path, file.size, sha256=told.sha256, tag=file.tag) if told else file


async def _chunks(opened: Any) -> AsyncIterator[bytes]:
    while chunk := opened.read(CHUNK):
        yield chunk


def git_sha1(path: Path, size: int) -> str:
    """What git calls a file with this content."""
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
