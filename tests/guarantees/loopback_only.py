"""The scene of G8, run as a process of its own: `loopback_only.py RESULT.json`.

It moves into a network namespace that has only loopback, starts the whole stack there and lets a person say
something at every door. What the kernel counts as attempts to reach anything else is written down.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx2

from tests.fakes.hook import SECRET, FakeReceiver, message
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support import RunningStack

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41
ELSEWHERE = "198.51.100.7"  # of a block that documentation may use
SETTINGS = """
[channels.telegram.default]
token = "{token}"
api_base = "{telegram}"
admit = "anyone"
[channels.hook.shop]
secret = "{secret}"
reply_url = "{reply_url}"
admit = "anyone"
"""


def main(result: Path) -> None:
    leave_the_network()
    told: dict[str, object] = {"interfaces": [name for _, name in socket.if_nameindex()]}
    before = attempts()
    with (
        FakeTelegram() as telegram,
        FakeReceiver() as receiver,
        tempfile.TemporaryDirectory(prefix="portico-g8-") as home,
    ):
        settings = SETTINGS.format(
            token=TOKEN, telegram=telegram.url, secret=SECRET, reply_url=receiver.reply_url
        )
        stack = RunningStack(Path(home), settings=settings)
        try:
            stack.start(prove=True)
            told |= {"start": stack.output} | talk(stack, telegram, receiver)
        finally:
            stack.stop()
    told["left_during_the_run"] = difference(before, attempts())
    before = attempts()
    try_to_leave()
    told["left_after_trying"] = difference(before, attempts())
    result.write_text(json.dumps(told))


def talk(stack: RunningStack, telegram: FakeTelegram, receiver: FakeReceiver) -> dict[str, object]:
    """One question at each door, and its answer."""
    sent = stack.run("send", "what is 21 + 21?")
    body, headers = message("What is 17 × 23?")
    httpx2.post(f"{stack.url}/webhooks/hook/shop", content=body, headers=headers, trust_env=False)
    telegram.push(telegram.text("what is 5 * 5?", chat=7))
    return {
        "web": sent.stdout + sent.stderr,
        "hook": receiver.wait_for_replies(1, timeout_s=30)[0].data["text"],
        "telegram": telegram.wait_for_messages(1, chat=7, timeout_s=30)[0].text,
        "status": stack.run("status").returncode,
    }


def leave_the_network() -> None:
    """Into a namespace of its own, with loopback up. Needs the right to."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace cannot be made")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def attempts() -> dict[str, int]:
    """What this namespace's kernel has counted: nowhere to send to, or a closed port asked on loopback.

    A name server that is set to an address of loopback would be asked there: that shows as unreachable.
    """
    ip, icmp, ip6 = counters("snmp", "Ip:"), counters("snmp", "Icmp:"), counters6()
    return {
        "no_route": ip["OutNoRoutes"] + ip6.get("Ip6OutNoRoutes", 0),
        "unreachable": icmp["InDestUnreachs"] + ip6.get("Icmp6InDestUnreachs", 0),
    }


def counters(table: str, kind: str) -> dict[str, int]:
    lines = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    names, values = (line[1:] for line in lines if line[0] == kind)
    return dict(zip(names, map(int, values), strict=True))


def counters6() -> dict[str, int]:
    path = Path("/proc/net/snmp6")
    if not path.exists():
        return {}
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def try_to_leave() -> None:
    """What a part would do that talks to somebody else."""
    with suppress(OSError):
        socket.create_connection((ELSEWHERE, 443), timeout=1).close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, suppress(OSError):
        datagram.sendto(b"hello", (ELSEWHERE, 53))


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}


if __name__ == "__main__":
    os.environ["PYTHONWARNINGS"] = "default"
    main(Path(sys.argv[1]))
