"""`/metrics` of an edge that has webhooks alone: there is nobody whose key it could know, so the token decides."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import health
from api.errors import add_error_handlers
from api.metrics import Metrics
from portico.settings.settings import Settings
from portico.settings.telemetry import TelemetrySettings

TOKEN = "a token of twenty-four or more characters"


def client(token: str | None) -> TestClient:
    app = FastAPI()
    telemetry = TelemetrySettings.model_validate({"metrics_token": token} if token else {})
    metrics = Metrics()
    metrics.events.labels("telegram", "stored").inc()
    app.state.webhooks = SimpleNamespace(settings=Settings(telemetry=telemetry), metrics=metrics)
    app.include_router(health.webhook_metrics_router)
    add_error_handlers(app)
    return TestClient(app)


def test_the_token_shows_what_was_counted() -> None:
    answer = client(TOKEN).get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert 'portico_events_total{channel="telegram",end="stored"} 1.0' in answer.text


@pytest.mark.parametrize("given", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer "])
def test_anything_else_is_refused(given: str) -> None:
    assert client(TOKEN).get("/metrics", headers={"authorization": given}).status_code == 401


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer None"])
def test_without_a_token_nobody_is_shown_anything(given: str) -> None:
    assert client(None).get("/metrics", headers={"authorization": given}).status_code == 401
