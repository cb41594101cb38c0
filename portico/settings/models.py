"""Settings of language models: routes, models on Triton, and where they are fetched from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from portico.settings.table import Secret, Table

RESERVED_ROUTES = frozenset({"auto", "routes", "use", "usage"})
"""Words that stand in a route's place in requests and paths."""


class RouteSettings(Table):
    kind: Literal["openai", "triton"] = Field(description="protocol of the server")
    base_url: str = Field("", description="for openai: base URL that ends in /v1")
    model: str = Field(description="name of the model at that place")
    api_key: str = Field("", description="secret:NAME, env:NAME or file:PATH; empty for most local servers")
    locality: Literal["local", "cloud"] = Field("local", description="where the content goes")
    timeout_s: float = Field(120, description="longest wait for the whole answer", gt=0)
    first_token_timeout_s: float = Field(60, description="longest wait for the first token", gt=0)
    concurrency: int = Field(4, description="answers of it at once, of chats and programs together", ge=1)
    queue: int = Field(
        32,
        description="requests of a process that may wait for it; further ones are refused and retried",
        ge=0,
    )
    input_cost_per_mtok: float = Field(0, description="price of a million tokens that it reads", ge=0)
    output_cost_per_mtok: float = Field(0, description="price of a million tokens that it writes", ge=0)
    cost_per_day: float = Field(
        0, description="most that it may cost a day; it is not used any more that day. 0: no limit", ge=0
    )


class LlmSettings(Table):
    routes: dict[str, RouteSettings] = Field({}, description="language models, tried in this order")
    currency: str = Field("EUR", description="what the prices are in; a label, nothing is converted")
    door_data_class: Literal["local", "shareable"] = Field(
        "local", description="data class of requests at the OpenAI-compatible endpoint"
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
            raise ValueError("a port is between 1 and 65535")
        return value
