"""The FastAPI application, built from two groups of routes: `webhooks` stands alone, `app` needs the keys."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from api import (
    chat,
    codec_server,
    conversations,
    dead_letters,
    health,
    history_ui,
    invocation_events,
    invocations,
    login,
    messages,
    models,
    pairing,
    reference,
    usage,
    webhooks,
)
from api.deps import AppDeps, WebhookDeps
from api.errors import PROBLEMS, add_error_handlers
from api.headers import SecurityHeaders
from api.mcp import PATH as MCP_PATH
from api.mcp import McpDoor
from api.openai import chat as openai_chat
from api.openai import embeddings as openai_embeddings
from api.openai import models as openai_models

WEBHOOK_ROUTERS: tuple[APIRouter, ...] = (webhooks.router, health.router, reference.router)
APP_ROUTERS: tuple[APIRouter, ...] = (
    chat.router,
    messages.router,
    conversations.router,
    login.router,
    pairing.router,
    models.router,
    usage.router,
    openai_chat.router,
    openai_embeddings.router,
    openai_models.router,  # after our own below /v1/models
    dead_letters.router,
    codec_server.router,
    history_ui.router,
    invocations.router,
    invocation_events.router,
    health.metrics_router,
)


def make_app(webhook_deps: WebhookDeps, app_deps: AppDeps | None, *, version: str) -> FastAPI:
    """With `app_deps` the whole edge, without them the webhooks alone."""
    app = FastAPI(
        title="Portico",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        responses=PROBLEMS,
    )
    app.state.webhooks = webhook_deps
    app.state.deps = app_deps
    for router in WEBHOOK_ROUTERS:
        app.include_router(router)
    for router in APP_ROUTERS if app_deps else ():
        app.include_router(router)
    if app_deps:
        app.state.mcp = McpDoor(app_deps)
        app.routes.append(Route(MCP_PATH, app.state.mcp))
    add_error_handlers(app)
    app.add_middleware(SecurityHeaders)
    return app
