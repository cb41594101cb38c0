"""What the processes of Portico have in common: how they start, and how they end."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop

from portico.errors import Misconfigured, PorticoError

YOUNG_OBJECTS = 20_000
"""A turn makes some thousand short-lived objects; the default of 700 lets the collector run many times in each."""


def run(name: str, serve: Coroutine[Any, Any, None]) -> None:
    """Run to the end and leave the process. What a person has to fix is one line on stderr, status `EX_CONFIG`."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    status = 0
    try:
        uvloop.run(serve)
    except PorticoError as error:
        sys.stderr.write(f"portico {name}: {error.message}\n")
        status = os.EX_CONFIG if isinstance(error, Misconfigured) else 1
    except asyncio.CancelledError:
        status = 0
    sys.stderr.flush()
    sys.stdout.flush()
    # The Temporal SDK can crash at interpreter exit after correct work: nothing is left to do here.
    os._exit(status)


def settle_memory() -> None:
    """What was loaded until here stays: take it out of the collector's sight."""
    gc.collect()
    gc.freeze()
