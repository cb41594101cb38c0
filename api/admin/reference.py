"""`/docs`: the interface's reference as one plain page, made from the OpenAPI document.

FastAPI's own page loads its scripts from a public server; nothing here may.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code,pre{font-family:ui-monospace,monospace;font-size:.9em}"
    "pre{overflow:auto;padding:.8rem;border:1px solid #8886;border-radius:.5rem}summary{cursor:pointer}"
)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Every path with what it takes and gives."""
    document = request.app.openapi()
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(document['info']['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(document['info']['title'])}</h1><p>As a document: <a href=/openapi.json>openapi.json</a>. "
        "Errors are problem documents (RFC 9457).</p>" + "".join(_operations(document)) + _schemas(document)
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            told = {
                "parameters": operation.get("parameters"),
                "requestBody": operation.get("requestBody"),
                "responses": operation["responses"],
            }
            details = _json({key: value for key, value in told.items() if value})
            yield (
                f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
                f"<p>{escape(operation.get('description', ''))}</p>"
                f"<details><summary>takes and gives</summary>{details}</details>"
            )


def _schemas(document: dict[str, Any]) -> str:
    schemas = document.get("components", {}).get("schemas", {})
    return f"<h2>Schemas</h2>{_json(schemas)}" if schemas else ""


def _json(value: Any) -> str:
    return f"<pre>{escape(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())}</pre>"
