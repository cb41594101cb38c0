"""What the routes work with, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.requests import HTTPConnection
from temporalio.client import Client

from api.intake import Intake
from api.limits import Limits
from api.metrics import Metrics
from channels.registry import Accounts
from portico.contracts.messages import ADMIN_ROLES
from portico.crypto.keyring import Keyring
from portico.errors import Forbidden, Refused
from portico.llm.offers import ModelOffers
from portico.llm.routes import ModelRoutes
from portico.policy.opa import PolicyClient
from portico.settings.connections import Connections
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.access import Access, Principal
from portico.storage.data_classes import DataClasses
from portico.storage.dead_letters import DeadLetters
from portico.storage.decisions import Decisions
from portico.storage.inbox import Inbox
from portico.storage.live.hub import LiveHub
from portico.storage.mcp_pins import McpPins
from portico.storage.memory import Memory
from portico.storage.objects.artifacts import Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.outbox import Outbox
from portico.storage.people import People
from portico.storage.route_health import RouteHealth
from portico.storage.tools import ToolTable
from portico.storage.usage import ModelUsage
from portico.triton.encoder import LazyEncoder

SESSION_COOKIE = "portico_session"


@dataclass(frozen=True)
class WebhookDeps:
    """All that the group `webhooks` needs: no database, no console, no content key."""

    settings: Settings
    accounts: Accounts
    intake: Intake
    limits: Limits
    metrics: Metrics
    acknowledges: bool = True
    """Whether this edge holds what it takes to tell a platform that a press of a button has arrived."""


@dataclass(frozen=True)
class AppDeps:
    """What the group `app` needs besides."""

    home: Home
    settings: Settings
    keyring: Keyring
    connections: Connections
    temporal: Client
    intake: Intake
    limits: Limits
    metrics: Metrics
    access: Access
    people: People
    inbox: Inbox
    outbox: Outbox
    memory: Memory
    dead_letters: DeadLetters
    decisions: Decisions
    policy: PolicyClient
    blobs: BlobStore
    live: LiveHub
    tools: ToolTable
    pins: McpPins
    artifacts: Artifacts
    models: ModelOffers
    routes: ModelRoutes
    encoder: LazyEncoder
    usage: ModelUsage
    route_health: RouteHealth
    data_classes: DataClasses


def webhook_deps(connection: HTTPConnection) -> WebhookDeps:
    return cast(WebhookDeps, connection.app.state.webhooks)


def app_deps(connection: HTTPConnection) -> AppDeps:
    return cast(AppDeps, connection.app.state.deps)


Webhooks = Annotated[WebhookDeps, Depends(webhook_deps)]
App = Annotated[AppDeps, Depends(app_deps)]


async def principal_of(connection: HTTPConnection) -> Principal:
    """The person behind a bearer key or a session cookie, looked up once a request. Raises `Refused`."""
    if not hasattr(connection.state, "principal"):
        connection.state.principal = await _find_principal(connection)
    return cast(Principal, connection.state.principal)


async def _find_principal(connection: HTTPConnection) -> Principal:
    access = app_deps(connection).access
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        found = await access.check_key(token.strip())
    elif session := connection.cookies.get(SESSION_COOKIE):
        _refuse_foreign_origin(connection)
        found = await access.session(session)
    else:
        found = None
    if found is None:
        raise Refused("no valid key or session")
    return found


def _refuse_foreign_origin(connection: HTTPConnection) -> None:
    """A cookie travels with requests that other sites make; those name their own origin."""
    origin = connection.headers.get("origin")
    if origin and origin.partition("://")[2] != connection.headers.get("host"):
        raise Refused("foreign origin")


async def http_principal(request: Request) -> Principal:
    return await principal_of(request)


Person = Annotated[Principal, Depends(http_principal)]


async def owner(person: Person) -> Principal:
    """For reading what belongs to all; changing it is for policy (`api/admin/decide.py`). Raises `Forbidden`."""
    if person.role not in ADMIN_ROLES:
        raise Forbidden("only the owner or an admin may do this")
    return person


Owner = Annotated[Principal, Depends(owner)]
