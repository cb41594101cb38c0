"""Model hubs with Hugging Face's interface: which revision, which folder, which files with which checksums."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from portico.errors import BadInput, Misconfigured, NotFound
from portico.llm.library.sources import FILES, Reading, SourceFile, checked_path, reading
from portico.llm.library.web import WebClient

CONFIG = "genai_config.json"
PAGES = 50


class HubSource:
    """`OWNER/NAME`, a folder in it or the one folder that holds a model, at one revision for the whole fetch."""

    def __init__(self, name: str, base: str, web: WebClient) -> None:
        path, _, revision = name.partition("@")
        owner, model, *folder = path.split("/")
        self._model = f"{owner}/{model}"
        self._folder = "/".join(folder)
        self._revision = revision or "main"
        self._base = base.rstrip("/")
        self._web = web
        self.told = f"{self._base}/{path}" + (f"@{revision}" if revision else "")

    async def files(self) -> list[SourceFile]:
        told = await self._asked(f"revision/{quote(self._revision, safe='')}")
        commit = told.get("sha") if isinstance(told, dict) else None
        if not isinstance(commit, str) or not commit.isalnum():
            raise Misconfigured(f"{self._base} does not answer as a model hub does")
        self._revision = commit
        entries = [entry for entry in await self._tree() if entry.get("type") == "file"]
        self._folder = self._folder or _only_folder(self._model, [str(entry["path"]) for entry in entries])
        self.told = f"{self._base}/{self._model}/{self._folder}".rstrip("/") + f"@{commit}"
        inside = [_file(entry, self._folder) for entry in entries if _is_in(entry, self._folder)]
        if not inside:
            raise NotFound(f"folder {self._folder} of {self._model}")
        return inside

    def read(self, file: SourceFile, start: int) -> AbstractAsyncContextManager[Reading]:
        path = f"{self._folder}/{file.path}" if self._folder else file.path
        url = f"{self._base}/{self._model}/resolve/{self._revision}/{quote(path)}"
        return reading(self._web, url, start)

    async def _asked(self, what: str) -> Any:
        try:
            raw = await self._web.get(f"{self._base}/api/models/{self._model}/{what}")
        except Misconfigured as error:
            raise Misconfigured(f"{error.message}; put a token of yours into models.hub.token") from None
        except NotFound:
            raise NotFound(f"{self._model} at {self._base}") from None
        return _json(raw, self._base)

    async def _tree(self) -> list[dict[str, Any]]:
        url = f"{self._base}/api/models/{self._model}/tree/{self._revision}?recursive=true"
        entries: list[dict[str, Any]] = []
        for _ in range(PAGES):
            raw, url = await self._web.get_with_link(url)
            page = _json(raw, self._base)
            entries += [entry for entry in page if isinstance(entry, dict)] if isinstance(page, list) else []
            if not url:
                return entries
        raise BadInput(f"{self._model} has too many files")


def _json(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise Misconfigured(f"{where} does not answer as a model hub does") from None


def _is_in(entry: dict[str, Any], folder: str) -> bool:
    """Directly: a hub's folder often has those of other variants below it."""
    parent = PurePosixPath(str(entry.get("path", ""))).parent.as_posix()
    return parent == (folder or ".") and not str(entry["path"]).rpartition("/")[2].startswith(".")


def _file(entry: dict[str, Any], folder: str) -> SourceFile:
    path = checked_path(entry["path"])
    name = path.removeprefix(f"{folder}/") if folder else path
    large = entry.get("lfs")
    if isinstance(large, dict):
        return SourceFile(name, int(large["size"]), sha256=str(large["oid"]))
    return SourceFile(name, int(entry.get("size", 0)), git_sha1=str(entry.get("oid", "")))


def _only_folder(model: str, paths: list[str]) -> str:
    """The folder with the one model; of several the person has to choose."""
    if len(paths) > FILES * PAGES:
        raise BadInput(f"{model} has too many files")
    folders = [path.rpartition("/")[0] for path in paths if path.rpartition("/")[2] == CONFIG]
    if "" in folders or not folders:
        return ""
    if len(folders) == 1:
        return folders[0]
    raise BadInput(
        f"{model} has several models; name one: " + ", ".join(f"{model}/{each}" for each in folders[:12])
    )
