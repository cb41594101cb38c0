"""Which models Triton has, and how each of them is: the small ones, and the language models of this home."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from portico.errors import Misconfigured, Unavailable
from portico.llm.library.memory_need import need
from portico.llm.library.pull import half_pulls
from portico.llm.library.serve import settings_of
from portico.llm.library.store import TAKEN_PREFIX, installed
from portico.settings.connections import triton_address
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.triton.admin import TritonAdmin

WORDS = {"READY": "loaded", "LOADING": "loading", "UNLOADING": "unloading"}


@dataclass(frozen=True)
class ShelfModel:
    """`state`: loaded, loading, unloading, ready (it can be loaded), half fetched, or unknown (without Triton)."""

    name: str
    state: str
    language: bool = False
    source: str = ""
    size_bytes: int | None = None
    memory_mib: int | None = None


async def shelf(home: Home, settings: Settings) -> list[ShelfModel]:
    """Language models first. Never raises for a Triton that is unavailable: that is what the states tell then."""
    states = await _states(home, settings)
    here = await asyncio.to_thread(installed, home)
    half = await asyncio.to_thread(half_pulls, home)
    known = {model.name for model in here}
    found = [
        ShelfModel(
            model.name,
            _word(states, model.name),
            language=True,
            source=model.source,
            size_bytes=model.size_bytes,
            memory_mib=need(model.facts, settings_of(settings, model.name)).mib,
        )
        for model in here
    ]
    found += [ShelfModel(name, "half fetched", language=True) for name in half if name not in known]
    others = sorted(set(states or {}) - known - set(half))
    return found + [
        ShelfModel(name, _word(states, name)) for name in others if not name.startswith(TAKEN_PREFIX)
    ]


def _word(states: dict[str, str] | None, name: str) -> str:
    return "unknown" if states is None else WORDS.get(states.get(name, ""), "ready")


async def _states(home: Home, settings: Settings) -> dict[str, str] | None:
    try:
        address, key = triton_address(settings, home)
    except Misconfigured:
        return None
    admin = TritonAdmin(address, key.get_secret_value())
    try:
        return await admin.states()
    except (Unavailable, Misconfigured):  # unavailable, or an external one without model control
        return None
    finally:
        await admin.close()
