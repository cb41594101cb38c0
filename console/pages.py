"""The console's pages: the chat page at `/` and its files below `/console/static`.

Pages are static and served only to people with a session or key; everyone else gets the page that says how to log in.
The routes are appended after the edge's own, so that they shadow none of them.
"""

from __future__ import annotations

from pathlib import Path

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from api.deps import principal_of
from portico.errors import NotFound, Refused
from portico.texts import catalog

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
CHAT_PAGE, CLOSED_PAGE = FOLDER / "chat.html", FOLDER / "closed.html"
ICON = STATIC / "icon.svg"
REVALIDATE = "no-cache"
EVERY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]  # HEAD comes with GET
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
}
"""No inline code or style, no other hosts."""
TEXTS = f"export const WORDS = {orjson.dumps(catalog.section('page')).decode()};\n"


def mount(app: FastAPI) -> None:
    """Append the console's routes. Call once, after the edge's routes are set."""
    app.router.routes.extend(
        [
            Route("/", _chat_page, methods=["GET"], include_in_schema=False),
            Route("/favicon.ico", _icon, methods=["GET"], include_in_schema=False),
            Route("/console/static/texts.js", _texts, methods=["GET"], include_in_schema=False),
            Mount("/console/static", _Static(directory=STATIC)),
            Route("/console/{path:path}", _no_page, methods=EVERY_METHOD, include_in_schema=False),
        ]
    )


async def _chat_page(request: Request) -> Response:
    return _page(CHAT_PAGE) if await _is_known(request) else _page(CLOSED_PAGE, status=401)


async def _texts(_: Request) -> Response:
    """The page's section of the catalogue as a module."""
    return Response(TEXTS, media_type="text/javascript", headers={"Cache-Control": REVALIDATE})


async def _no_page(request: Request) -> Response:
    """Without a session every path below `/console` gets the same response, whether the page exists or not."""
    if not await _is_known(request):
        return _page(CLOSED_PAGE, status=401)
    raise NotFound("the page")


async def _icon(_: Request) -> Response:
    return FileResponse(ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


async def _is_known(request: Request) -> bool:
    """Whether the request has a valid key, or a session of this origin."""
    try:
        await principal_of(request)
    except Refused:
        return False
    return True


def _page(path: Path, *, status: int = 200) -> Response:
    return HTMLResponse(path.read_text(encoding="utf-8"), status_code=status, headers=PAGE_HEADERS)


class _Static(StaticFiles):
    """Small files that browsers revalidate on each use, so that an upgrade shows at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response: Response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = REVALIDATE
        return response
