"""Temporal's dev server on a file: its command line, and what has to be set and read back at every start."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from operations.embedded.context import StackContext
from operations.probes import NoAnswer, http
from portico.errors import Unavailable

SEARCH_ATTRIBUTES = ("PorticoChannel", "PorticoStatus")
SYNCHRONOUS = {"process": "NORMAL", "power-loss": "FULL"}
KEYWORD = "INDEXED_VALUE_TYPE_KEYWORD"
DAY_S = 86_400


def database(context: StackContext) -> Path:
    return context.home.temporal / "temporal.db"


def command(context: StackContext) -> tuple[str, ...]:
    context.home.temporal.mkdir(mode=0o700, exist_ok=True)
    flags = {
        "ip": "127.0.0.1",
        "port": context.port("temporal"),
        "http-port": context.port("temporal-http"),
        "metrics-port": context.port("temporal-metrics"),
        "ui-ip": "127.0.0.1",
        "ui-port": context.port("temporal-ui"),
        "ui-public-path": "/temporal",
        "ui-codec-endpoint": f"http://127.0.0.1:{context.port('api')}/codec",
        "db-filename": database(context),
        "namespace": context.settings.temporal.namespace,
        "log-level": "warn",
    }
    return (
        str(Path(sys.executable).with_name("temporal")),
        *("server", "start-dev", "--ui-disable-news-fetch"),
        *(part for name, value in flags.items() for part in (f"--{name}", str(value))),
        *("--sqlite-pragma", "journal_mode=WAL"),
        *("--sqlite-pragma", f"synchronous={SYNCHRONOUS[context.settings.durability]}"),
        # the default of 20 polls a second adds 50 ms to every task
        *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000"),
        # the default of a second lets every timer and every repeated activity come up to that much late
        *("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="10ms"'),
        # else the server tells its maker once an hour that it is there (it asks for the newest version)
        *("--dynamic-config-value", "frontend.enableServerVersionCheck=false"),
        *(part for name in SEARCH_ATTRIBUTES for part in ("--search-attribute", f"{name}=Keyword")),
    )


async def prepare_namespace(context: StackContext) -> None:
    """Set the retention, then read retention, search attributes and journal mode back.

    Raises `Unavailable` where the server did not take one of them: it accepts misspelt settings in silence.
    """
    address, namespace = context.address("temporal-http"), context.settings.temporal.namespace
    wanted = f"{context.settings.temporal.retention_days * DAY_S}s"
    path = f"/api/v1/namespaces/{namespace}"
    if await _retention(address, path) != wanted:
        await _ask(address, f"{path}/update", {"config": {"workflowExecutionRetentionTtl": wanted}})
        found = await _retention(address, path)
        if found != wanted:
            raise Unavailable("temporal", f"retention is {found}, not {wanted}")
    attributes = (await _ask(address, f"{path}/search-attributes")).get("customAttributes", {})
    missing = [name for name in SEARCH_ATTRIBUTES if attributes.get(name) != KEYWORD]
    if missing:
        raise Unavailable("temporal", f"search attributes are missing: {', '.join(missing)}")
    journal = journal_mode(database(context))
    if journal != "wal":
        raise Unavailable("temporal", f"journal mode is {journal}, not wal")


def journal_mode(path: Path) -> str:
    """What the file says. (`synchronous` belongs to a connection and cannot be read from outside.)"""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    finally:
        connection.close()
    return mode


async def _retention(address: str, path: str) -> str:
    config = (await _ask(address, path)).get("config", {})
    return str(config.get("workflowExecutionRetentionTtl", ""))


async def _ask(address: str, path: str, body: Any = None) -> dict[str, Any]:
    try:
        status, answer = await http(address, path, method="POST" if body else "GET", body=body)
    except NoAnswer as error:
        raise Unavailable("temporal", str(error)) from error
    if status != 200:
        raise Unavailable("temporal", f"{path} answered {status}")
    content: dict[str, Any] = json.loads(answer)
    return content
