"""The table `[telemetry]`: traces and metrics, and where they go. Off by default."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from portico.settings.table import Secret, Table


class TelemetrySettings(Table):
    otlp_endpoint: str = Field(
        "",
        description="URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318, for traces. "
        "Empty: none are made",
    )
    sample_ratio: float = Field(1.0, description="share of the turns that are traced", ge=0, le=1)
    metrics_address: str = Field(
        "",
        description="host:port where the worker shows Prometheus its metrics, without a key. "
        "Empty: it shows none",
    )
    metrics_token: Secret | None = Field(
        None, description="bearer token that opens the edge's /metrics and nothing else, for Prometheus"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
            raise ValueError("an http:// or https:// URL without a password is needed")
        return value.rstrip("/")

    @field_validator("metrics_address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("host:port is needed, such as 127.0.0.1:9464")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _is_long(cls, value: Secret | None) -> Secret | None:
        if value is not None and len(value.get_secret_value()) < 24:
            raise ValueError("at least 24 characters are needed")
        return value
