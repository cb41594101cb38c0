"""Runs in the image of a worker with the packages of its tools: calls them as the gateway does, and says what came.

`python tried_tools.py`, with the checkout's tests mounted. `SANDBOX_URL` and `SANDBOX_KEY` name a sandbox service;
`ONLY=browser` asks only for what a browser that is refused says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from entrypoints.serve.tool_sources import SHIPPED, environments
from portico.egress.guard import Network
from portico.egress.proxy import EgressProxy
from portico.tool import SandboxAccess
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource
from tests.activities.functions.kit import NoSecrets, Tools, Workspaces

PAGE = "<!doctype html><title>Shop 商店</title><h1>Welcome</h1><script>document.write('<p>by script</p>')</script>"


class Site(BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@asynccontextmanager
async def tools_of_the_image(port: int) -> AsyncIterator[Tools]:
    async def resolve(name: str, _: int) -> list[str]:
        return ["127.0.0.1"] if name == "shop.example" else []

    host = f"shop.example:{port}"
    proxy = EgressProxy(Network(allow=frozenset({host})), resolve=resolve)
    url, key = os.environ.get("SANDBOX_URL", ""), os.environ.get("SANDBOX_KEY", "")
    access = SandboxAccess(url, url, key, {"portico": "somebody"}) if url else "no sandbox was named"
    workspaces = Workspaces()
    services = Services(workspaces, NoSecrets(), sandbox=lambda _: access, proxy=proxy.grant)
    source = FunctionSource(
        [FunctionsFolder(SHIPPED, shipped=True)], services, Pool(), environments=environments
    )
    await source.start()
    watching = asyncio.create_task(source.watch(lambda: None))
    try:
        yield Tools(source, workspaces, hosts=(host,))
    finally:
        watching.cancel()
        await source.close()
        await proxy.close()


async def main() -> dict[str, Any]:
    server = HTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shop = f"http://shop.example:{server.server_port}/"
    async with tools_of_the_image(server.server_port) as tools:
        if os.environ.get("ONLY") == "browser":
            return {"refused": await tools.fails("browser_read", url=shop)}
        told: dict[str, Any] = {}
        tools.files["notes.md"] = b"# Notes\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        await tools("documents_convert", file="notes.md", to="notes.docx")
        told["document"] = (await tools("documents_read", file="notes.docx"))["text"]
        drawn = [{"name": "one", "values": [1, 2, 3]}]
        await tools("images_chart", kind="line", labels=["a", "b", "c"], series=drawn, save_as="chart.png")
        told["chart"] = tools.files["chart.png"][:4].hex()
        told["page"] = (await tools("browser_read", url=shop))["text"]
        await tools("browser_screenshot", url=shop)
        told["screenshot"] = len(tools.artifacts["page.png"][0])
        if os.environ.get("SANDBOX_URL"):
            told["script"] = (await tools("script", code="print(6 * 7)"))["stdout"]
        told["unavailable"] = {
            spec.name: spec.unavailable for spec in tools.source.specs() if spec.unavailable
        }
    return told


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main()), ensure_ascii=False) + "\n")
