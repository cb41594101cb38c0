"""Which channels there are, and which accounts of them this Portico has."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast, get_args

from pydantic import SecretStr, ValidationError

from channels.base import Account, AccountSettings, Channel, Descriptor
from channels.facts import WEB
from channels.hook.settings import HookSettings
from channels.telegram.settings import TelegramSettings
from channels.web import WebSettings
from portico.egress.guard import network
from portico.errors import Misconfigured, NotFound
from portico.logs import logger
from portico.problems import problems_of
from portico.settings.settings import Settings

log = logger("channels")

CHANNELS: tuple[Descriptor, ...] = (
    Descriptor("telegram", "Telegram", "channels.telegram.channel", TelegramSettings, listens=True),
    Descriptor("hook", "Signed webhook", "channels.hook.channel", HookSettings, idempotent_sends=True),
    Descriptor(WEB, "Web chat", "channels.web", WebSettings, webhook=False, idempotent_sends=True),
)

Resolve = Callable[[str], str]
"""Gives the value of `secret:NAME`, `env:NAME` or `file:PATH`; raises `Misconfigured`."""

_REFERENCES = ("secret:", "env:", "file:")
ACCOUNT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_ADDRESSES = ("api_base", "reply_url")


@dataclass(frozen=True)
class Accounts:
    """The configured accounts of all channels."""

    by_name: Mapping[tuple[str, str], Account]

    def get(self, channel: str, name: str = "default") -> Account:
        try:
            return self.by_name[(channel, name)]
        except KeyError:
            raise NotFound(f"the account {channel}/{name}") from None

    def of(self, channel: str) -> tuple[Account, ...]:
        return tuple(account for account in self if account.channel == channel)

    def __iter__(self) -> Iterator[Account]:
        return iter(self.by_name.values())


def descriptor(name: str) -> Descriptor:
    for one in CHANNELS:
        if one.name == name:
            return one
    raise NotFound(f"the channel {name[:64]}")


@cache
def load(name: str) -> Channel:
    """The channel, imported when it is first used. Raises `NotFound`."""
    return cast(Channel, importlib.import_module(descriptor(name).module).CHANNEL)


async def close_channels(of: Accounts) -> None:
    """Close what the channels of these accounts keep open in the running event loop."""
    for name in sorted({account.channel for account in of}):
        await load(name).close()


def accounts(settings: Settings, resolve: Resolve) -> Accounts:
    """Raises `Misconfigured` with one line for each mistake in `[channels.*.*]`."""
    found: dict[tuple[str, str], Account] = {}
    mistakes: list[str] = []
    configured = {**settings.channels, "web": {"default": {}, **settings.channels.get("web", {})}}
    for channel, tables in configured.items():
        for name, table in tables.items():
            try:
                found[(channel, name)] = _account(settings, channel, name, table, resolve)
            except Misconfigured as error:
                mistakes.append(error.message)
    if mistakes:
        raise Misconfigured("\n".join(mistakes))
    return Accounts(found)


def _account(settings: Settings, channel: str, name: str, table: dict[str, Any], resolve: Resolve) -> Account:
    where = f"channels.{channel}.{name}"
    known = ", ".join(one.name for one in CHANNELS)
    try:
        described = descriptor(channel)
    except NotFound:
        raise Misconfigured(f"channels.{channel}: no such channel; there are {known}") from None
    if not ACCOUNT_NAME.fullmatch(name):
        raise Misconfigured(f"{where}: an account's name is made of a-z 0-9 _ - and has at most 32 of them")
    values = {key: _value(described.settings, where, key, value, resolve) for key, value in table.items()}
    try:
        checked = described.settings.model_validate(values)
    except ValidationError as error:
        raise Misconfigured("\n".join(_problems(where, error))) from None
    allow = [str(getattr(checked, field, "")) for field in _ADDRESSES]
    return Account(channel, name, checked, network(settings, allow=allow))


def _value(model: type[AccountSettings], where: str, key: str, value: Any, resolve: Resolve) -> Any:
    if not isinstance(value, str) or not _is_secret(model, key):
        return value
    if value.startswith(_REFERENCES):
        try:
            return resolve(value)
        except Misconfigured as error:
            raise Misconfigured(f"{where}.{key}: {error.message}") from None
    secret = f"{where.removeprefix('channels.').replace('.', '-')}-{key}"
    log.warning(
        "channels.literal_secret",
        key=f"{where}.{key}",
        move_it_with=f"portico secrets set {secret}",
        then_write=f'{key} = "secret:{secret}"',
    )
    return value


def _is_secret(model: type[AccountSettings], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and (field.annotation is SecretStr or SecretStr in get_args(field.annotation))


def _problems(where: str, error: ValidationError) -> Iterator[str]:
    yield from (problem.line(under=where) for problem in problems_of(error))
