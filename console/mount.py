"""Puts the console into an edge: the page at `/`, everything that it loads below `/console`.

NiceGUI lives under its own prefix, so that none of its routes stands before one of the edge's, nor before the
edge's answers to a wrong path or method. The page alone is also served at `/`.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from console import chat
from console.door import Door
from console.edge import Edge

PREFIX = "/console"
STATIC = Path(__file__).parent / "static"
ICON = STATIC / "icon.svg"
REVALIDATE = "no-cache"
ASSET_DIRECTIVES = "public, max-age=31536000, immutable"


def mount(app: FastAPI) -> None:
    """Call once, after the edge's routes and its lifespan are set."""
    app.router.routes.append(Route("/", _Page(nicegui_app), methods=["GET"], include_in_schema=False))
    app.router.routes.append(Route("/favicon.ico", _icon, include_in_schema=False))
    app.router.routes.append(Mount(f"{PREFIX}/static", _Static(directory=STATIC)))
    nicegui_app.add_middleware(Door, edge=Edge(app), prefix=PREFIX)
    ui.page("/")(chat.page)
    ui.run_with(
        app,
        mount_path=PREFIX,
        title="Portico",
        favicon=ICON,
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        message_history_length=0,
        cache_control_directives=ASSET_DIRECTIVES,
        show_welcome_message=False,
    )


class _Page:
    """Hands `GET /` to NiceGUI as if it had come in below its prefix."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{PREFIX}/"
        below = {**scope, "root_path": PREFIX, "path": path, "raw_path": path.encode()}
        await self._inner(below, receive, send)


class _Static(StaticFiles):
    """Our own files: small, and asked for anew each time, so that an upgrade is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = REVALIDATE
        return response


async def _icon(_: object) -> Response:
    return FileResponse(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})
