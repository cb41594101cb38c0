"""Settings: `portico.toml` in `PORTICO_HOME`, every key overridable as `PORTICO_…` with `__` between levels.

Built once at an entry point and handed down. An unknown key in the file is an error, an unknown variable
only a warning, because platforms inject names of their own.
"""

from __future__ import annotations

import json
import os
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.servers import DatabaseSettings, EdgeSettings, StorageSettings, TemporalSettings
from portico.settings.table import MIB, Secret, Table
from portico.settings.telemetry import TelemetrySettings
from portico.settings.tools import McpSettings, ToolSettings

RESERVED = ("HOME", "CONFIG", "MASTER_KEY", "FUNCTIONS", "URL", "API_KEY", "YES")
RESERVED_PREFIXES = ("TEST_", "SANDBOX_")
RESERVED_ROUTES = frozenset({"auto", "routes", "use", "usage"})
"""Words that stand in a route's place in requests and paths."""

log = logger("settings")


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


class RouteSettings(Table):
    kind: Literal["openai", "triton"] = Field(description="what speaks there")
    base_url: str = Field("", description="for openai: base URL that ends in /v1")
    model: str = Field(description="name of the model at that place")
    api_key: str = Field("", description="secret:NAME, env:NAME or file:PATH; empty for most local servers")
    locality: Literal["local", "cloud"] = Field("local", description="where the content goes")
    timeout_s: float = Field(120, description="longest wait for the whole answer", gt=0)
    first_token_timeout_s: float = Field(60, description="longest wait for the first token", gt=0)
    concurrency: int = Field(4, description="answers of it at once, of chats and programs together", ge=1)
    queue: int = Field(32, description="askers of a process that may wait for it; more come again", ge=0)
    input_cost_per_mtok: float = Field(0, description="price of a million tokens that it reads", ge=0)
    output_cost_per_mtok: float = Field(0, description="price of a million tokens that it writes", ge=0)
    cost_per_day: float = Field(
        0, description="it is not asked any more on a day on which it cost this; 0: no limit", ge=0
    )


class LlmSettings(Table):
    routes: dict[str, RouteSettings] = Field({}, description="language models, tried in this order")
    currency: str = Field("EUR", description="what the prices are in; a label, nothing is converted")
    door_data_class: Literal["local", "shareable"] = Field(
        "local", description="data class of what programs ask at the OpenAI-compatible door"
    )

    @field_validator("routes")
    @classmethod
    def _are_no_words_of_ours(cls, value: dict[str, RouteSettings]) -> dict[str, RouteSettings]:
        if taken := sorted(RESERVED_ROUTES & set(value)):
            raise ValueError(f"no route can be called {taken[0]}, that word has a meaning of its own")
        return value


class LanguageModelSettings(Table):
    """Of one language model on Triton."""

    context_tokens: int = Field(
        4096, description="longest prompt and answer together, at most what the model knows", ge=128
    )
    concurrency: int = Field(
        2,
        description="answers that it writes at the same time; each takes memory for its context",
        ge=1,
        le=64,
    )
    threads: int = Field(0, description="threads of its runs; 0: one for each core", ge=0)
    memory_mib: int = Field(0, description="it is not loaded if it needs more; 0: what is free decides", ge=0)


class HubSettings(Table):
    """Where `portico models pull` fetches from."""

    url: str = Field("https://huggingface.co", description="hub of OWNER/NAME, with Hugging Face's interface")
    token: str = Field("", description="secret:NAME, env:NAME or file:PATH; for models that ask for one")
    s3_url: str = Field("", description="S3 server of s3://BUCKET/PREFIX; empty: that of [storage]")
    s3_access_key: str = Field("", description="access key of that server")
    s3_secret_key: Secret | None = Field(None, description="secret key of that server")
    s3_region: str = Field("us-east-1", description="region of that server")


class ModelSettings(Table):
    triton: str = Field("", description="host:port of an external Triton; empty: the embedded one")
    triton_key: Secret | None = Field(
        None, description="key with which models are loaded into an external Triton"
    )
    detect: bool = Field(True, description="look for local model servers on their usual ports at start")
    ports: tuple[int, ...] = Field((), description="further ports of this machine to look at")
    language: dict[str, LanguageModelSettings] = Field({}, description="language models on Triton, by name")
    instances_max: int = Field(
        2, ge=1, le=64, description="instances of `understand` that a long queue may bring; 1: always one"
    )
    hub: HubSettings = HubSettings()
    intents: dict[str, str] = Field(
        {}, description="INTENT = ROUTE: which route is tried first for messages of that intent"
    )

    @field_validator("ports", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A variable holds them as `11500,11501`."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < port < 65536 for port in value):
            raise ValueError("a port lies between 1 and 65535")
        return value


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
    grpc_port: int = Field(8081, description="port of the gRPC door", ge=0, le=65535)
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
        """Written with a length, so that nobody trusts more than they can see. Raises `ValueError`."""
        for network in value:
            try:
                if ip_network(network).prefixlen == 0:
                    raise ValueError(f"{network} would trust everybody")
            except ValueError as error:
                raise ValueError(f"{error}; name networks such as 172.20.0.0/16 or 10.0.0.7/32") from None
        return tuple(str(ip_network(network)) for network in value)

    @model_validator(mode="after")
    def _refuse_open_doors(self) -> Settings:
        if bool(self.tls.certificate) != bool(self.tls.key):
            raise ValueError("tls: certificate and key go together")
        loopback = self.host in ("127.0.0.1", "::1", "localhost")
        if not loopback and not self.tls.certificate and not self.insecure:
            raise ValueError(
                f"host: {self.host} without TLS is refused; set [tls], or insecure = true if you mean it"
            )
        return self


def load_settings(home: Home, config: Path | None = None) -> Settings:
    """Raises `Misconfigured` with one line that names the key and what is wrong with it."""
    path = settings_path(home, config)
    values = _read_file(path, required=path != home.settings)
    variables = _variables(dict(os.environ))  # noqa: TID251 - the one place that reads it
    for steps, (name, value) in variables.items():
        _put(values, steps, name, _listed(steps, value))
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        place = tuple(str(step) for step in error.errors()[0]["loc"])
        source = next((name for steps, (name, _) in variables.items() if steps == place), str(path))
        raise Misconfigured(f"{source}: {_first_problem(error)}") from None


def settings_path(home: Home, config: Path | None = None) -> Path:
    """The file that is read: `--config`, else `PORTICO_CONFIG`, else `portico.toml` in the home."""
    return config or _config_from_environment() or home.settings


def _config_from_environment() -> Path | None:
    given = os.environ.get("PORTICO_CONFIG")  # noqa: TID251 - reserved name
    return Path(given).expanduser() if given else None


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        if required:
            raise Misconfigured(f"{path} does not exist") from None
        return {}
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from None


def _variables(environment: dict[str, str]) -> dict[tuple[str, ...], tuple[str, str]]:
    """Where in the settings each variable belongs, with name and value. Unknown ones are left out, aloud."""
    found = {}
    for name, value in sorted(environment.items()):
        rest = name.removeprefix("PORTICO_")
        if rest == name or _is_reserved(rest):
            continue
        steps = tuple(rest.lower().split("__"))
        if _kind_of(steps) is None or _is_service_link(steps, value):
            log.warning("settings.unknown_variable", name=name)
            continue
        found[steps] = (name, value)
    return found


def _listed(steps: tuple[str, ...], value: str) -> str | list[str]:
    """A list is written as `a,b` in a variable, or as in JSON."""
    if get_origin(_kind_of(steps)) is not tuple:
        return value
    if not value.lstrip().startswith("["):
        return [one.strip() for one in value.split(",") if one.strip()]
    try:
        return list(json.loads(value))
    except ValueError:
        return value  # the model says what is wrong with it


def _is_reserved(rest: str) -> bool:
    """`SANDBOX_KEY` belongs to the sandbox's own settings, `SANDBOX__URL` to the table `[sandbox]`."""
    return rest in RESERVED or any(
        rest.startswith(prefix) and not rest.startswith(prefix + "_") for prefix in RESERVED_PREFIXES
    )


def _kind_of(steps: tuple[str, ...]) -> Any:
    """The type of a key, None for one that is unknown; below tables whose keys are free (channels) all are known."""
    table: Any = Settings
    for step in steps:
        if not (isinstance(table, type) and issubclass(table, Table)):
            return Any
        if step not in table.model_fields:
            return None
        table = table.model_fields[step].annotation
    return table


def _is_service_link(steps: tuple[str, ...], value: str) -> bool:
    """Kubernetes sets `PORTICO_PORT=tcp://…` beside a service with our name."""
    return steps == ("port",) and value.startswith(("tcp://", "udp://"))


def _put(values: dict[str, Any], steps: tuple[str, ...], name: str, value: str | list[str]) -> None:
    for level in steps[:-1]:
        values = values.setdefault(level, {})
        if not isinstance(values, dict):
            raise Misconfigured(f"{name}: {level} is not a table")
    values[steps[-1]] = value


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"
