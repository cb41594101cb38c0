"""Background tasks of a worker: learn the bots' names, delete what is old."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from activities.deps import Deps
from channels.base import Account, Connects
from channels.registry import Accounts, load
from portico.errors import Misconfigured, Unavailable
from portico.logs import logger
from portico.storage.objects.blobs import SPARE_DAYS
from portico.triton.understand_cache import write_counts

DAY_S = 24 * 3600
PRUNE_EVERY_S = 6 * 3600
FIRST_PRUNE_S = 300
RETRY_S = 60
TELL_EVERY_S = 5

log = logger("upkeep")


async def identify_accounts(accounts: Accounts) -> None:
    """Ask each platform who the bot is, so that mentions in groups are recognized."""
    await asyncio.gather(*(_identify(account) for account in accounts))


async def _identify(account: Account) -> None:
    channel = load(account.channel)
    if not isinstance(channel, Connects):
        return
    while True:
        try:
            await channel.identify(account)
            return
        except Unavailable:
            await asyncio.sleep(RETRY_S)
        except Misconfigured as error:
            log.error(
                "account.misconfigured", channel=account.channel, account=account.name, why=error.message
            )
            return


async def _prune_payloads(deps: Deps) -> None:
    """Large payloads outlive the histories that need them by a week, whether or not the server sees to it."""
    retention_days = deps.settings.temporal.retention_days
    if not await deps.blobs.ensure_bucket(retention_days=retention_days):
        await deps.blobs.prune(time.time() - (retention_days + SPARE_DAYS) * DAY_S)


async def _prune_artifacts(deps: Deps) -> None:
    """What runs kept goes with their histories."""
    before = time.time() - (deps.settings.temporal.retention_days + SPARE_DAYS) * DAY_S
    while await deps.artifacts.prune(before):
        log.info("upkeep.artifacts_pruned")


async def prune_for_ever(deps: Deps) -> None:
    """Forget keys that are older than any platform repeats, idle rates and old large payloads."""
    await asyncio.sleep(FIRST_PRUNE_S)
    while True:
        try:
            await deps.inbox.prune(time.time() - deps.settings.limits.inbox_days * DAY_S)
            await deps.outbox.forget_idle_rates(now=time.time())
            await _prune_payloads(deps)
            await _prune_artifacts(deps)
        except Unavailable as error:
            log.warning("upkeep.later", why=error.message)
        await asyncio.sleep(PRUNE_EVERY_S)


async def tell_understanding(deps: Deps) -> None:
    """Write what the memory of texts brought where the edge's metrics read it."""
    told = None
    while True:
        counts = replace(deps.understand.counts)
        if counts != told:
            write_counts(counts, deps.home.understand_counts)
            told = counts
        await asyncio.sleep(TELL_EVERY_S)
