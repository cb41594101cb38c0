"""Brings a language model here: found, fetched, looked at, and put in its place as a whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portico.errors import BadInput, Conflict, Misconfigured
from portico.llm.library.bucket import BucketSource
from portico.llm.library.download import PARTIAL, STATE, NoRoom, Progress, fetch
from portico.llm.library.hub import HubSource
from portico.llm.library.sources import (
    NEEDED,
    FolderSource,
    Source,
    SourceFile,
    WebSource,
    is_hub_name,
    usual_name,
)
from portico.llm.library.store import MANIFEST, WEIGHTS, LanguageModel, check_name, find, installed
from portico.llm.library.web import WebClient
from portico.settings.connections import connect_to
from portico.settings.home import Home
from portico.settings.settings import Settings

Check = Callable[[Path], dict[str, int]]
"""Facts of a folder that holds a model; raises `BadInput` with what is missing or wrong."""
NEAR = ("http://127.0.0.1", "http://[::1]", "http://localhost")


@dataclass(frozen=True)
class PullRequest:
    """What to fetch, from where, and what to call it."""

    name: str
    source: Source
    web: WebClient | None


def wanted(
    text: str, *, name: str, home: Home, settings: Settings, secret: Callable[[str], str]
) -> PullRequest:
    """Raises `BadInput` for what names no place."""
    path = Path(text).expanduser()
    called = check_name(name or usual_name(str(path.absolute()) if path.is_dir() else text))
    if path.is_dir():
        return PullRequest(called, FolderSource(path.absolute()), None)
    if text.startswith("s3://"):
        return _from_bucket(text, called, home, settings)
    if text.startswith("https://") or text.startswith(NEAR):
        web = WebClient(settings, text)
        return PullRequest(called, WebSource(text, web), web)
    if text.startswith("http://"):
        raise BadInput("a model is fetched from https://, or from http:// on this machine")
    if is_hub_name(text) and not text.startswith((".", "/")):
        hub = settings.models.hub
        web = WebClient(settings, hub.url, token=secret(hub.token) if hub.token else "")
        return PullRequest(called, HubSource(text, hub.url, web), web)
    raise BadInput(
        f"{text[:100]} is no folder here, no s3://BUCKET/PREFIX, no https:// URL and no OWNER/NAME of a hub"
    )


async def pull(
    home: Home, what: PullRequest, *, check: Check, progress: Progress
) -> tuple[LanguageModel, bool]:
    """The model, and whether it is new or another than before.

    What was there before is served until everything of the new one is right. A fetch that breaks off goes on
    when it is asked for again.
    """
    home.language_models.mkdir(mode=0o700, parents=True, exist_ok=True)
    staging = home.pulls / what.name
    home.pulls.mkdir(mode=0o700, exist_ok=True)
    with _only_one(home.pulls / f"{what.name}.lock"):
        try:
            files = await what.source.files()
            _refuse_other(what.source.told, files)
            if same := _already(home, what.name, files):
                return same, False
            digests = await fetch(what.source, files, staging, progress)
            facts = check(staging)
        except (NoRoom, BadInput):
            shutil.rmtree(staging, ignore_errors=True)
            raise
        finally:
            if what.web is not None:
                await what.web.close()
        (staging / STATE).unlink()
        _put(home, what, staging, _manifest(what, files, digests, facts))
    return find(home, what.name), True


def _from_bucket(text: str, name: str, home: Home, settings: Settings) -> PullRequest:
    hub = settings.models.hub
    server, keys = hub.s3_url, (hub.s3_access_key, hub.s3_secret_key)
    if not server:
        connections = connect_to(settings, home)
        server, keys = connections.s3_url, (connections.s3_access_key, connections.s3_secret_key)
    if not keys[0] or keys[1] is None:
        raise Misconfigured("set models.hub.s3_url, s3_access_key and s3_secret_key for models in S3")
    web = WebClient(settings, server)
    pair = (keys[0], keys[1].get_secret_value())
    return PullRequest(name, BucketSource(text, server, pair, region=hub.s3_region, web=web), web)


def _refuse_other(told: str, files: list[SourceFile]) -> None:
    """Before gigabytes are fetched: what cannot be a model for lack of its files."""
    names = {file.path for file in files}
    missing = [name for name in NEEDED if name not in names]
    if not any(name.endswith(".onnx") for name in names):
        missing.append("a graph (*.onnx)")
    if missing:
        raise BadInput(f"{told} is no language model for onnxruntime: {', '.join(missing)} missing")


def _already(home: Home, name: str, files: list[SourceFile]) -> LanguageModel | None:
    model = next((model for model in installed(home) if model.name == name), None)
    if model is None or any(not file.sha256 for file in files):
        return None
    recorded = {path: str(file["sha256"]) for path, file in model.files.items()}
    if recorded != {file.path: file.sha256 for file in files}:
        return None
    with contextlib.suppress(Misconfigured):
        return find(home, name)
    return None


def _manifest(
    what: PullRequest, files: list[SourceFile], digests: dict[str, str], facts: dict[str, int]
) -> dict[str, Any]:
    return {
        "name": what.name,
        "source": what.source.told,
        "pulled_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "facts": facts,
        "files": {file.path: {"sha256": digests[file.path], "size": file.size} for file in files},
    }


def _put(home: Home, what: PullRequest, staging: Path, manifest: dict[str, Any]) -> None:
    """In one rename; a process that serves the files before keeps them open."""
    ready = home.pulls / f"{what.name}.ready"
    old = home.pulls / f"{what.name}.old"
    for path in (ready, old):
        shutil.rmtree(path, ignore_errors=True)
    (ready / WEIGHTS).parent.mkdir(mode=0o700, parents=True)
    staging.rename(ready / WEIGHTS)
    (ready / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1))
    target = home.language_models / what.name
    if target.exists():
        target.rename(old)
    ready.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def half_pulls(home: Home) -> list[str]:
    """Names of fetches that broke off."""
    return sorted({path.relative_to(home.pulls).parts[0] for path in home.pulls.glob(f"*/*{PARTIAL}")})


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{path.stem} is being fetched by another command already") from None
        yield
