"""The load that `benchmarks.compose` puts on a deployment, from a container inside it: prints one line of JSON.

Updates go through Caddy's TLS as Telegram's would; the floor's worker and its load run beside, against the same
Temporal and database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import time
from pathlib import Path

import aiohttp

from benchmarks.figures import percentile_ms
from benchmarks.floor import FloorLoad, connect_here
from benchmarks.telegram import BotApi, Platform
from benchmarks.turns import TEXT, turns_per_s

PORT = 8081
ROOT = Path("/bench/root.crt")
SITE = "portico.test"
WARM_UP = 20


async def alone(platform: Platform, *, turns: int) -> dict[str, float]:
    """Floor and Portico in turn, one message at a time."""
    floor_s, portico_s = [], []
    async with FloorLoad(await connect_here(), os.environ["PORTICO_HOME"]) as floor:
        for number in range(WARM_UP + turns):
            floor_s.append(await floor.turn("floor-1"))
            portico_s.append(await platform.turn(1, TEXT))
            if number == WARM_UP:
                floor_s.clear()
                portico_s.clear()
                platform.acks_s.clear()
    floor_ms, portico_ms = percentile_ms(floor_s, 0.5), percentile_ms(portico_s, 0.5)
    return {
        "floor_p50_ms": floor_ms,
        "portico_p50_ms": portico_ms,
        "portico_p99_ms": percentile_ms(portico_s, 0.99),
        "ack_p50_ms": percentile_ms(platform.acks_s, 0.5),
        "ratio": portico_ms / floor_ms,
    }


async def at_once(platform: Platform, *, chats: int, seconds: float) -> dict[str, float]:
    first = int(time.time()) % 1_000_000 * 1000
    await turns_per_s(lambda chat: platform.turn(first + chat, TEXT), chats=chats, seconds=3)
    per_s, times, lost = await turns_per_s(
        lambda chat: platform.turn(first + chat, TEXT), chats=chats, seconds=seconds
    )
    return {
        "replies_per_s": per_s,
        "replies": len(times),
        "lost": lost,
        "p50_ms": percentile_ms(times, 0.5),
        "p99_ms": percentile_ms(times, 0.99),
    }


async def floor_at_once(*, chats: int, seconds: float) -> dict[str, float]:
    async with FloorLoad(await connect_here(), os.environ["PORTICO_HOME"]) as floor:
        await turns_per_s(lambda chat: floor.turn(f"floor-{chat}"), chats=chats, seconds=3)
        per_s, _, _ = await turns_per_s(
            lambda chat: floor.turn(f"floor-{chat}"), chats=chats, seconds=seconds
        )
    return {"turns_per_s": per_s}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("alone", "at_once", "floor_at_once"))
    parser.add_argument("--turns", type=int, default=150)
    parser.add_argument("--chats", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=15.0)
    given = parser.parse_args()
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cafile=str(ROOT)))
    async with (
        BotApi(host="0.0.0.0", port=PORT) as bot,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        platform = Platform(session, f"https://{SITE}:8443/webhooks/telegram", bot)
        if given.what == "alone":
            found = await alone(platform, turns=given.turns)
        elif given.what == "at_once":
            found = await at_once(platform, chats=given.chats, seconds=given.seconds)
        else:
            found = await floor_at_once(chats=given.chats, seconds=given.seconds)
    os.write(1, json.dumps(found).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(main())
