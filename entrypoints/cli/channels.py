"""`portico channels`: which platforms reach this Portico, adding one, trying one."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from channels import registry
from channels.base import Account, Channel, Connects, Descriptor
from channels.hook.channel import Hook
from channels.telegram.settings import TelegramSettings
from entrypoints.cli.database import with_database
from entrypoints.cli.output import print_json, print_table
from entrypoints.serve.wiring import secret_resolver
from portico.contracts.messages import Sent
from portico.crypto.keyring import Keyring
from portico.egress.guard import network
from portico.errors import Misconfigured, NotFound, Unavailable
from portico.problems import first_problem
from portico.settings.home import Home
from portico.settings.load import load_settings, settings_path
from portico.settings.toml_file import set_keys
from portico.storage.engine.database import Database
from portico.storage.people import People
from portico.storage.secrets import SecretStore

app = typer.Typer(no_args_is_help=True, help="platforms where people reach Portico", add_completion=False)

AccountOption = Annotated[str, typer.Option("--account", help="name of the account, if you have several")]
ApiBaseOption = Annotated[str, typer.Option("--api-base", help="another Bot API server")]


@app.command("list")
def list_channels(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Channels and their configured accounts."""
    found = _accounts()
    rows = [_described(one, account) for one in registry.CHANNELS for account in found.of(one.name)]
    rows += [_described(one, None) for one in registry.CHANNELS if not found.of(one.name)]
    if as_json:
        print_json(rows)
        return
    print_table(
        [(row["channel"], row["account"] or "—", row["admit"], row["way_in"]) for row in rows], empty="none"
    )


@app.command()
def add(
    channel: Annotated[str, typer.Argument(help="telegram")],
    account: AccountOption = "default",
    api_base: ApiBaseOption = "",
) -> None:
    """Connect a platform: asks for its token, checks it, stores it encrypted and prints how to pair."""
    if channel != "telegram":
        registry.descriptor(channel)
        raise Misconfigured(
            f"{channel} is set in portico.toml; docs/channels/{channel}.md has the lines to write"
        )
    if not registry.ACCOUNT_NAME.fullmatch(account):
        raise Misconfigured("--account: a name is made of a-z 0-9 _ - and has at most 32 of them")
    home = Home.from_environment()
    known = asyncio.run(_identified(_telegram(_ask_token(), account, api_base)))
    secret = f"telegram-{account}-token"

    async def store(database: Database, keyring: Keyring) -> str:
        await SecretStore(database).set(secret, known.settings.token.get_secret_value())
        return await _owner_link(database, keyring, known)

    link = with_database(store)
    table = {"token": f"secret:{secret}", "bot_username": known.settings.bot_username}
    path = settings_path(home)
    typer.echo(f"@{known.settings.bot_username} answers; its token is stored encrypted.")
    typer.echo(
        f"Open this link within 10 minutes and tap Start; the bot then knows you as the owner:\n  {link}"
    )
    set_keys(path, ("channels", "telegram", account), table | ({"api_base": api_base} if api_base else {}))
    typer.echo(f"{path} names the account.")
    typer.echo("A running Portico takes the account up at its next start.")


@app.command()
def link(
    channel: Annotated[str, typer.Argument(help="telegram")] = "telegram",
    account: AccountOption = "default",
) -> None:
    """A new link that pairs the owner, valid for 10 minutes."""
    known = asyncio.run(_identified(_accounts().get(channel, account)))
    typer.echo(with_database(lambda database, keyring: _owner_link(database, keyring, known)))


@app.command()
def test(
    name: Annotated[str, typer.Argument(help="channel or channel/account")],
) -> None:
    """Ask the platform whether this account works."""
    channel, _, account = name.partition("/")
    registry.descriptor(channel)
    typer.echo(asyncio.run(_tried(_accounts().get(channel, account or "default"))))


async def _tried(account: Account) -> str:
    channel: Channel = registry.load(account.channel)
    where = f"{account.channel}/{account.name}"
    try:
        if isinstance(channel, Connects):
            known = await channel.identify(account)
            return f"{where}: the platform knows it as @{known.settings.bot_username}"
        if isinstance(channel, Hook):
            outcome = await channel.ping(account)
            if not isinstance(outcome, Sent):
                raise Unavailable(where, outcome.reason)
            return f"{where}: {account.settings.reply_url} took a signed ping"
        return f"{where}: needs no platform"
    finally:
        await channel.close()


async def _identified(account: Account) -> Account:
    channel = registry.load(account.channel)
    if not isinstance(channel, Connects):
        raise NotFound(f"a link for {account.channel}")
    try:
        return await channel.identify(account)
    finally:
        await channel.close()


async def _owner_link(database: Database, keyring: Keyring, account: Account) -> str:
    token = await People(database, keyring).owner_link_token(account.channel, account.name, now=time.time())
    return f"https://t.me/{account.settings.bot_username}?start={token}"


def _accounts() -> registry.Accounts:
    settings = load_settings(Home.from_environment())
    resolve = with_database(lambda database, _: secret_resolver(SecretStore(database)))
    return registry.accounts(settings, resolve)


def _telegram(token: str, account: str, api_base: str) -> Account:
    try:
        settings = TelegramSettings.model_validate(
            {"token": token} | ({"api_base": api_base} if api_base else {})
        )
    except ValidationError as error:
        raise Misconfigured(first_problem(error).line()) from None
    reach = network(load_settings(Home.from_environment()), allow=[settings.api_base])
    return Account("telegram", account, settings, reach)


def _ask_token() -> str:
    """Asked for or read from standard input, so that no shell history keeps it."""
    if sys.stdin.isatty():
        typer.echo("Talk to @BotFather on Telegram, send /newbot, and paste the token that it gives you.")
        return str(typer.prompt("token", hide_input=True)).strip()
    return sys.stdin.readline().strip()


def _described(one: Descriptor, account: Account | None) -> dict[str, Any]:
    way_in = (
        "webhook or polling" if one.webhook and one.listens else "webhook" if one.webhook else "this machine"
    )
    return {
        "channel": one.name,
        "title": one.title,
        "account": account.name if account else "",
        "admit": account.settings.admit if account else "",
        "way_in": way_in,
    }
