"""The edge by its own description: every answer conforms, every error is a problem document, no 5xx."""

from __future__ import annotations

import signal
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import EdgeStack

EXAMPLES = 8
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PROBLEM = "application/problem+json"


def test_answers_are_as_described(edge: EdgeStack) -> None:
    described = schemathesis.openapi.from_url(f"{edge.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 15
    for operation in operations:
        _try(operation, edge.key("owner", "of the examples"))


def _try(operation: APIOperation[Any, Any, Any, Any], key: str) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def conforms(case: schemathesis.Case[Any]) -> None:
        answer = case.call(headers={"Authorization": f"Bearer {key}"}, timeout=70)
        case.validate_response(answer, checks=CHECKS)

    conforms()


# --- errors are problem documents --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing/here", 404),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/messages", 405),
        ("PUT", "/webhooks/telegram", 405),
        ("POST", "/healthz", 405),
        ("POST", "/webhooks/nosuch", 404),
        ("POST", "/webhooks/web", 404),
        ("GET", "/login", 422),
        ("GET", "/login?token=forged", 401),
        ("GET", "/v1/conversations", 401),
        ("POST", "/v1/messages", 401),
        ("GET", "/v1/invocations/forged", 401),
        ("GET", "/metrics", 401),
        ("POST", "/codec/decode", 401),
        ("GET", "/temporal/", 401),
    ],
)
def test_an_error_is_a_problem_document(stranger: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = stranger.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    told = answer.json()
    assert told["status"] == status
    assert told["type"] == f"urn:portico:{told['code']}"
    assert told["title"]


@pytest.mark.parametrize("role", ["member", "guest", "service"])
def test_what_belongs_to_all_is_for_the_owner(edge: EdgeStack, role: str) -> None:
    with edge.person(edge.key(role)) as person:
        assert person.get("/v1/me").json()["role"] == role
        for path in ("/metrics", "/v1/pairing", "/v1/dead-letters", "/temporal/"):
            assert (person.get(path).status_code, path) == (403, path)
        assert person.post("/codec/decode", json={"payloads": []}).status_code == 403


def test_answers_are_not_to_be_framed_or_guessed(stranger: httpx2.Client) -> None:
    for path in ("/healthz", "/nothing", "/docs"):
        headers = stranger.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


# --- health and reference ----------------------------------------------------------------------------


def test_is_not_ready_while_temporal_hangs(edge: EdgeStack, stranger: httpx2.Client) -> None:
    assert stranger.get("/readyz").json() == {"status": "ready"}
    edge.running.kill("temporal", signal.SIGSTOP)
    try:
        answer = stranger.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert stranger.get("/healthz").json() == {"status": "ok"}
    finally:
        edge.running.kill("temporal", signal.SIGCONT)
    assert stranger.get("/readyz").status_code == 200


class Loads(HTMLParser):
    """Every address that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_reference_loads_nothing_from_elsewhere(stranger: httpx2.Client) -> None:
    answer = stranger.get("/docs")
    page = Loads()
    page.feed(answer.text)
    assert page.found == ["/openapi.json"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for path in stranger.get("/openapi.json").json()["paths"]:
        assert path in answer.text
