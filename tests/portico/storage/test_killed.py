"""A process that is killed in the middle of its writes: what it was told to be stored is there."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from portico.crypto.keyring import Keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.inbox import Inbox
from tests.portico.storage.support import MASTER

TOLD = 200
CHECKOUT = Path(__file__).parents[3]
WRITER = """
import asyncio, sys
from pathlib import Path
from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.inbox import Inbox

async def claim_for_ever(inbox, lane):
    number = 0
    while True:
        assert await inbox.claim(lane, (f"k{number}",), f"{lane}-{number}", now=1)
        print(lane, number, flush=True)
        number += 1

async def main(root, master, lane):
    home = Home(Path(root))
    inbox = Inbox(Database.open(home, open_keyring(home, bytes.fromhex(master))))
    await asyncio.gather(*(claim_for_ever(inbox, f"{lane}-{n}") for n in range(8)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_was_told_to_be_stored_is_there_after_a_kill(
    home: Home, keyring: Keyring, db: Database
) -> None:
    told: list[tuple[str, int]] = []
    for lane in ("first", "second"):
        told += await asyncio.to_thread(_write_then_kill, home, lane)
    for lane, number in told:
        assert not await Inbox(db).claim(lane, (f"k{number}",), "another", now=2)
    assert len(told) >= 2 * TOLD


def _write_then_kill(home: Home, lane: str) -> list[tuple[str, int]]:
    command = (sys.executable, "-c", WRITER, str(home.root), MASTER.hex(), lane)
    told: list[tuple[str, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, _, number = line.decode().partition(" ")
            if number.endswith("\n"):
                told.append((name, int(number)))
            if len(told) == TOLD:
                process.send_signal(signal.SIGKILL)
    return told
