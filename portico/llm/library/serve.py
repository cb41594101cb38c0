"""Loads a language model into Triton: checks memory, then writes code and configuration next to its weights.

Triton's process checks every file against the manifest before it serves the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from portico.llm.library.memory_need import check_memory
from portico.llm.library.store import LanguageModel, find
from portico.settings.home import Home
from portico.settings.models import LanguageModelSettings
from portico.settings.settings import Settings

CODE = Path(__file__).parents[3] / "triton_models"
SHARED = ("__init__.py", "plumbing.py", "texts.py")
LOAD_S = 900.0
"""Gigabytes are read twice: for their checksums, and by the engine."""
LOCK_EVERY_S = 0.1


class Admin(Protocol):
    async def load(self, name: str, *, timeout_s: float) -> None: ...
    async def ready(self, name: str) -> bool: ...


def settings_of(settings: Settings, name: str) -> LanguageModelSettings:
    return settings.models.language.get(name) or LanguageModelSettings()


async def load(
    home: Home, settings: Settings, admin: Admin, name: str, *, broken_at: float | None = None
) -> bool:
    """Whether anything had to be done: a model that is loaded as it is to be is left alone.

    `broken_at`: when (`time.time()`) its process was found dead; Triton goes on calling such a model ready.
    Raises `NotFound`, or `Misconfigured` with what is wrong or with the memory that it needs and that there is.
    """
    own = settings_of(settings, name)
    model = await asyncio.to_thread(find, home, name)
    async with _only_one(home, name):
        ready = await admin.ready(name)
        config, code = _config(model, own), _sources()
        dead = broken_at is not None and _loaded_at(model.folder) < broken_at
        if ready and not dead and _is_laid_out(model.folder, config, code):
            return False
        check_memory(name, model.facts, own)
        await asyncio.to_thread(_lay_out, model.folder, config, code)
        await admin.load(name, timeout_s=LOAD_S)
    return True


def _config(model: LanguageModel, own: LanguageModelSettings) -> str:
    told = {"context": own.context_tokens, "concurrency": own.concurrency, "threads": own.threads}
    parameters = "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n' for key, value in told.items()
    )
    # Triton reloads a model when one of its files has changed: the manifest's hash is written into this one.
    manifest = hashlib.sha256((model.folder / "manifest.json").read_bytes()).hexdigest()
    template = (CODE / "llm" / "config.pbtxt").read_text()
    return f'name: "{model.name}"\n{template}{parameters}# {manifest}\n'


def _sources() -> dict[str, bytes]:
    """The model's code, by its place in the version's folder."""
    package = [CODE / name for name in SHARED] + sorted((CODE / "llm").glob("*.py"))
    sources = {f"triton_models/{path.relative_to(CODE)}": path.read_bytes() for path in package}
    return {"model.py": (CODE / "llm" / "1" / "model.py").read_bytes(), **sources}


def _is_laid_out(folder: Path, config: str, code: dict[str, bytes]) -> bool:
    try:
        return (folder / "config.pbtxt").read_text() == config and all(
            (folder / "1" / name).read_bytes() == content for name, content in code.items()
        )
    except OSError:
        return False


def _loaded_at(folder: Path) -> float:
    try:
        return (folder / "config.pbtxt").stat().st_mtime
    except OSError:
        return 0.0


def _lay_out(folder: Path, config: str, code: dict[str, bytes]) -> None:
    version = folder / "1"
    shutil.rmtree(version / "triton_models", ignore_errors=True)
    for name, content in code.items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_bytes(content)
    (folder / "config.pbtxt").write_text(config)


@contextlib.asynccontextmanager
async def _only_one(home: Home, name: str) -> AsyncIterator[None]:
    """Several processes may want the same model at once; the second finds it loaded."""
    with (home.run / f"load-{name}.lock").open("w") as lock:
        while not _try(lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(LOCK_EVERY_S)
        yield


def _try(take: Callable[[], None]) -> bool:
    try:
        take()
    except BlockingIOError:
        return False
    return True
