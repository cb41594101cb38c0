"""The tables `[tools]` and `[mcp.servers.*]`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from portico.settings.table import Table

HOST = re.compile(r"(\*|(\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", re.ASCII)


class ToolSettings(Table):
    timeout_s: float = Field(30, description="longest run of a tool that declares no limit of its own", gt=0)
    hosts: tuple[str, ...] = Field(
        (), description="hosts that http_request may reach: example.com, *.example.com, host:port, * for any"
    )
    sites: tuple[str, ...] = Field((), description="sites that the browser may open; written like hosts")
    inner_hosts: tuple[str, ...] = Field(
        (), description="of these, hosts that may have an address of the inner network: host or host:port"
    )
    approval_hours: float = Field(24, description="how long a run waits for a person's yes", gt=0, le=24 * 30)
    workspace_mib: int = Field(2048, description="how much each person's workspace holds", ge=1)
    memory_mib: int = Field(4096, description="how much memory a process of a function may use", ge=64)
    processes: int = Field(8, description="how many functions run at once, all tools together", ge=1)
    offer_to_models: bool = Field(True, description="language models may ask for tools")
    offered: tuple[str, ...] = Field(
        ("*",),
        description='names of the tools that models are offered, with `*`: `["time", "files_*"]`. All shipped ones '
        "take about 6,000 tokens, which small models do not have",
    )
    rounds: int = Field(
        5, description="how often a model may ask for tools before it has to answer", ge=0, le=20
    )
    calls: int = Field(4, description="how many tools a model may ask for at once", ge=1, le=16)
    tokens: int = Field(
        60_000, description="tokens of one answer with tools, after which the model has to end", ge=1000
    )
    plan_s: float = Field(
        300, description="longest time in which a model may begin tools for one message", gt=0
    )
    callback_hosts: tuple[str, ...] = Field(
        (),
        description="`host` or `host:port` that results may be posted to although they are not in the public "
        "internet, or although `local_only` is set",
    )

    @field_validator("offered", "callback_hosts", "hosts", "sites", "inner_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """A variable holds them as `a.example,10.0.0.5:8000`."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("hosts", "sites", "inner_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not HOST.fullmatch(one):
                raise ValueError(f"{one!r} is no host: example.com, *.example.com, host:port, *")
        return value

    @field_validator("inner_hosts")
    @classmethod
    def _are_exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("*" in one for one in value):
            raise ValueError("a host of the inner network is named exactly")
        return value


class McpToolSettings(Table):
    enabled: bool = Field(True, description="false: it is not offered")
    effects: Literal["none", "read", "write"] | None = Field(None, description="instead of the server's")
    risk: Literal["low", "medium", "high"] | None = Field(None, description="instead of the server's")
    repeatable: bool = Field(False, description="doing it twice does what doing it once does")


class McpServerSettings(Table):
    """One of `url` and `command`."""

    url: str = Field("", description="URL of a server that speaks streamable HTTP")
    command: tuple[str, ...] = Field((), description="program and arguments of a server on this machine")
    token: str = Field("", description="for url: bearer token; secret:NAME, env:NAME or file:PATH")
    environment: dict[str, str] = Field({}, description="for command: its variables; it gets no others")
    memory_mib: int = Field(512, description="for command: how much memory it may use", ge=64)
    effects: Literal["none", "read", "write"] = Field("write", description="what its tools do to the world")
    risk: Literal["low", "medium", "high"] = Field("medium", description="what a mistake would cost")
    timeout_s: float = Field(60, description="longest call of one of its tools", gt=0)
    tools: dict[str, McpToolSettings] = Field(
        {}, description="what holds for single tools, by their name there"
    )

    @model_validator(mode="after")
    def _is_one_kind(self) -> McpServerSettings:
        if bool(self.url) == bool(self.command):
            raise ValueError("set one of url and command")
        return self


class McpSettings(Table):
    servers: dict[str, McpServerSettings] = Field({}, description="MCP servers whose tools are offered")

    @field_validator("servers")
    @classmethod
    def _can_name_tools(cls, value: dict[str, McpServerSettings]) -> dict[str, McpServerSettings]:
        """A tool is called `SERVER_tool`."""
        if wrong := [name for name in value if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name)]:
            raise ValueError(f"{wrong[0]!r}: a server's name is lower-case letters, digits and _, at most 32")
        return value
