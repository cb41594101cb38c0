"""`/files`: whole files in and out, by token or by a signed address."""

from __future__ import annotations

from starlette.routing import Route

ROUTES: list[Route] = []
