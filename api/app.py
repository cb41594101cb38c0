"""The FastAPI application, built from two groups of routes: `webhooks` stands alone, `app` needs the keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from api import health, webhooks
from api.admin import codec_server, dead_letters, history_ui, login, models, pairing, reference, usage
from api.chat import conversations, messages, socket
from api.deps import AppDeps, WebhookDeps
from api.errors import PROBLEMS, add_error_handlers
from api.headers import SecurityHeaders
from api.openai import chat as openai_chat
from api.openai import embeddings as openai_embeddings
from api.openai import models as openai_models
from api.tools import approvals, events, pins, rest
from api.tools.mcp.endpoint import PATH as MCP_PATH
from api.tools.mcp.endpoint import McpEndpoint

WEBHOOK_ROUTERS: tuple[APIRouter, ...] = (webhooks.router, health.router)
APP_ROUTERS: tuple[APIRouter, ...] = (
    reference.router,
    socket.router,
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
    rest.router,
    approvals.router,
    events.router,
    pins.router,
    health.metrics_router,
)


def make_app(
    webhook_deps: WebhookDeps,
    app_deps: AppDeps | None,
    *,
    version: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """The whole edge; without `app_deps` the webhooks alone, without an OpenAPI document."""
    app = FastAPI(
        title="Portico",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if app_deps else None,
        responses=PROBLEMS,
        lifespan=lifespan,
    )
    app.state.webhooks, app.state.deps = webhook_deps, app_deps
    for router in (*WEBHOOK_ROUTERS, *(APP_ROUTERS if app_deps else (health.webhook_metrics_router,))):
        app.include_router(router)
    if app_deps:
        app.state.mcp = McpEndpoint(app_deps)
        app.routes.append(Route(MCP_PATH, app.state.mcp))
    add_error_handlers(app)
    app.add_middleware(SecurityHeaders)
    return app
