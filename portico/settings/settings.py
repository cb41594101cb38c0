"""`Settings`: every key of `portico.toml`. Built once at an entry point and handed down."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from portico.settings.models import LlmSettings, ModelSettings
from portico.settings.servers import DatabaseSettings, EdgeSettings, StorageSettings, TemporalSettings
from portico.settings.table import MIB, Secret, Table
from portico.settings.telemetry import TelemetrySettings
from portico.settings.tools import McpSettings, ToolSettings


class TlsSettings(Table):
    certificate: Path | None = Field(None, description="PEM file with the certificate chain; TLS 1.3 only")
    key: Path | None = Field(None, description="PEM file with the private key")


class LimitSettings(Table):
    body_bytes: int = Field(MIB, description="largest request body that the edge reads", ge=1024)
    signal_bytes: int = Field(64 * 1024, description="an event over this goes into a blob", ge=1024, le=MIB)
    failed_verifications_per_minute: int = Field(
        60, description="for each source address; 0 switches it off", ge=0
    )
    messages_per_minute: int = Field(120, description="for each verified sender; 0 switches it off", ge=0)
    invocations_per_minute: int = Field(
        6000, description="tool runs for each person at the edge; 0 switches it off", ge=0
    )
    inbox_days: int = Field(14, description="how long repeats of an event are recognized", ge=1)
    attachment_bytes: int = Field(20 * MIB, description="largest attachment that is fetched and stored", ge=0)
    request_timeout_s: float = Field(
        30, description="longest time in which a request's head, then its body, has to arrive", gt=0
    )
    waiting_after_s: float = Field(20, description="a turn this old is shown as waiting in the chat", gt=0)


class PolicySettings(Table):
    url: str = Field("", description="URL of an external OPA; empty: the embedded one")
    token: Secret | None = Field(None, description="bearer token of an external OPA")
    owner_allows_cloud: bool = Field(
        False, description="content of local conversations may go to a cloud route"
    )


class DeliverySettings(Table):
    on_unknown: Literal["repeat_marked", "hold"] = Field(
        "repeat_marked",
        description="an attempt with an unknown end: repeat it with a mark, or hold it as a dead letter",
    )


class SandboxSettings(Table):
    enabled: bool = Field(True, description="false: no sandbox is built or started, and no code runs")
    url: str = Field("", description="URL of an external sandbox service; empty: the embedded one")
    key: Secret | None = Field(None, description="key of an external sandbox service")


class LogSettings(Table):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is written"
    )
    json_lines: bool = Field(False, description="one JSON object a line instead of text")


class Settings(Table):
    """Everything that can be set."""

    host: str = Field("127.0.0.1", description="address that the edge listens on")
    port: int = Field(8080, description="port of the edge", ge=0, le=65535)
    grpc_port: int = Field(8081, description="port of the gRPC endpoint", ge=0, le=65535)
    public_url: str = Field(
        "", description="URL under which platforms reach the edge; empty: they are polled"
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="networks, as 172.20.0.0/16, whose X-Forwarded-For tells the client's address"
    )
    insecure: bool = Field(False, description="allow an address other than loopback without TLS")
    durability: Literal["process", "power-loss"] = Field(
        "process", description="what an ack survives: any killed process, or a power cut as well"
    )
    local_only: bool = Field(True, description="nothing leaves this machine but replies to the platforms")
    proxy: str = Field("", description="HTTP proxy for outgoing traffic")
    tls: TlsSettings = TlsSettings()
    limits: LimitSettings = LimitSettings()
    channels: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="[channels.NAME.ACCOUNT]; keys as the channel's page says"
    )
    llm: LlmSettings = LlmSettings()
    models: ModelSettings = ModelSettings()
    policy: PolicySettings = PolicySettings()
    delivery: DeliverySettings = DeliverySettings()
    sandbox: SandboxSettings = SandboxSettings()
    tools: ToolSettings = ToolSettings()
    mcp: McpSettings = McpSettings()
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    temporal: TemporalSettings = TemporalSettings()
    edge: EdgeSettings = EdgeSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """A prefix length is required, so that the extent of the trust is visible. Raises `ValueError`."""
        for network in value:
            try:
                if ip_network(network).prefixlen == 0:
                    raise ValueError(f"{network} would trust everybody")
            except ValueError as error:
                raise ValueError(f"{error}; name networks such as 172.20.0.0/16 or 10.0.0.7/32") from None
        return tuple(str(ip_network(network)) for network in value)

    @model_validator(mode="after")
    def _refuse_unprotected_edge(self) -> Settings:
        if bool(self.tls.certificate) != bool(self.tls.key):
            raise ValueError("tls: certificate and key go together")
        loopback = self.host in ("127.0.0.1", "::1", "localhost")
        if not loopback and not self.tls.certificate and not self.insecure:
            raise ValueError(
                f"host: {self.host} without TLS is refused; set [tls], or insecure = true if you mean it"
            )
        return self
