"""A scripted model hub, web server of models, or both: a folder for each model, with ranges and checksums.

`script("file", …)` says what happens to the next files, `cut` how many bytes of each are sent before the line breaks,
`sends` what is sent instead of what was announced.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes.server import FakeServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 2_000
"""Files over this are kept as large ones, with a SHA-256."""


class FakeHub(FakeServer):
    """`models` maps OWNER/NAME to files by path. `asked` are the requests for files: path and range."""

    def __init__(self, models: dict[str, dict[str, bytes]], *, token: str = "") -> None:
        super().__init__()
        self.models = models
        self.token = token
        self.cut = 0
        self.asked: list[tuple[str, str]] = []
        self.elsewhere = ""
        self.sends: dict[str, bytes] = {}

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self._revision)
        app.router.add_get("/api/models/{owner}/{name}/tree/{commit}", self._tree)
        app.router.add_get("/{owner}/{name}/resolve/{commit}/{path:.+}", self._resolve)
        app.router.add_get("/cdn/{owner}/{name}/{path:.+}", self._file)
        app.router.add_get("/web/{owner}/{name}/{path:.+}", self._file)

    def manifest(self, model: str, **changes: Any) -> None:
        """Put a manifest of all files beside them, as web servers of models have it."""
        files = {
            path: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for path, content in self.models[model].items()
        }
        self.models[model]["manifest.json"] = json.dumps({"files": files | changes}).encode()

    async def _revision(self, request: web.Request) -> web.Response:
        if self._model(request) is None:
            return web.json_response({"error": "Repository not found"}, status=404)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "gated"}, status=401)
        return web.json_response({"sha": COMMIT, "gated": bool(self.token)})

    async def _tree(self, request: web.Request) -> web.Response:
        """Two files a page."""
        entries = [_entry(path, content) for path, content in sorted((self._model(request) or {}).items())]
        start = int(request.query.get("cursor", 0))
        headers = {}
        if start + 2 < len(entries):
            following = f"{self.url}{request.path}?recursive=true&cursor={start + 2}"
            headers["link"] = f'<{following}>; rel="next"'
        return web.json_response(entries[start : start + 2], headers=headers)

    async def _resolve(self, request: web.Request) -> web.Response:
        """Files lie somewhere else, as with the large hubs."""
        assert request.match_info["commit"] == COMMIT
        path = "/".join(request.match_info[part] for part in ("owner", "name", "path"))
        return web.Response(status=302, headers={"location": f"{self.elsewhere or self.url}/cdn/{path}"})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path, asked = request.match_info["path"], request.headers.get("range", "")
        self.asked.append((path, asked))
        content = self.sends.get(path, (self._model(request) or {}).get(path))
        step = self.next_step("file")
        if content is None:
            return web.Response(status=404)
        if step is not None and step.status:
            return web.Response(status=step.status)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(content) > 0:
            return web.Response(status=416)
        headers = {"content-length": str(len(content) - start)}
        if start:
            headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if self.cut and start + self.cut < len(content):
            await response.write(content[start : start + self.cut])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(content[start:])
        return response

    def _model(self, request: web.Request) -> dict[str, bytes] | None:
        return self.models.get(f"{request.match_info['owner']}/{request.match_info['name']}")


def files_of(folder: Path, *, below: str = "") -> dict[str, bytes]:
    """A model's files as a hub has them."""
    return {below + path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": sha1}
    if len(content) > LARGE:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return entry
