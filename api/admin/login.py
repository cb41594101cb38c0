"""One-time login links and the session cookie that they give."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from api.admin.decide import decide_admin
from api.deps import SESSION_COOKIE, App, Person
from portico.errors import Refused
from portico.storage.people import DIRECT_CHANNEL

router = APIRouter(tags=["login"])

SESSION_S = 30 * 24 * 3600


class LoginLink(BaseModel):
    """Relative to the edge's address; valid once, for 10 minutes."""

    path: str


class Me(BaseModel):
    """Who the edge takes the caller for."""

    person: str
    role: str


@router.get("/login", include_in_schema=False)
async def login(token: str, request: Request, deps: App) -> Response:
    """Trade a one-time token for a session. Used or old tokens are refused; browsers get the page on how to log in."""
    session = await deps.access.redeem_login(token)
    if session is None and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/", status_code=303)
    if session is None:
        raise Refused("login link")
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=_encrypted(request, deps),
    )
    return response


def _encrypted(request: Request, deps: App) -> bool:
    """Whether the person's browser speaks TLS; it may end at a proxy before the edge, which need not tell."""
    return request.url.scheme == "https" or deps.settings.public_url.startswith("https:")


@router.post("/v1/login-links", status_code=201)
async def make_login_link(deps: App, person: Person) -> LoginLink:
    """A fresh link for the same person, as `portico open` prints it."""
    # The session will have the role that the person has in the store, whatever the key's.
    stored = await deps.people.actor_of(DIRECT_CHANNEL, "", person.person_id)
    await decide_admin(deps, person, "login_link.create", role=stored.role, subject=person.person_id)
    token = await deps.access.make_login(person.person_id)
    return LoginLink(path=f"/login?token={token}")


@router.post("/v1/logout", status_code=204)
async def logout(request: Request, deps: App, person: Person) -> Response:
    """End this session."""
    if session := request.cookies.get(SESSION_COOKIE):
        await deps.access.end_session(session)
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.get("/v1/me")
async def me(person: Person) -> Me:
    """The person and role behind a key or session."""
    return Me(person=person.person_id, role=person.role)
