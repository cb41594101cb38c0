"""What people try in order to get out of a sandbox, to reach another, or to take the machine down with it.

Each attempt is code that says `ESCAPED…` if it got what it wanted, with what stopped it beside; what takes more than
code is a test that is marked with `tried`. docs/sandbox.md publishes the list:

    python -m tests.sandbox.attempts
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"
BEGIN, END = "<!-- attempts: written by tests/sandbox/attempts.py -->", "<!-- end of attempts -->"
MODULES = (
    "test_escapes",
    "test_limits",
    "test_files",
    "test_pausing",
    "test_network",
    "test_api",
    "test_bad_input",
)
TRIED: list[tuple[str, str]] = []


def tried(name: str, by: str) -> Callable[[Any], Any]:
    """Marks a test as one of the published attempts, stopped by that."""

    def mark(test: Any) -> Any:
        TRIED.append((name, by))
        return test

    return mark


SYSCALL = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
TRIES = """
def attempt(act):
    try:
        got = act()
    except (OSError, ValueError, PermissionError) as error:
        print('stopped:', type(error).__name__, error)
    else:
        print('ESCAPED', got)

def call(number, *arguments):
    got = libc.syscall(number, *arguments)
    if got < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
"""


@dataclass(frozen=True)
class Attempt:
    """`code` calls `attempt(…)`; `by` is what stopped it."""

    name: str
    code: str
    by: str
    language: str = "python"

    def __str__(self) -> str:
        return f"{self.language}: {self.name}".replace(" ", "-")


KERNEL = "gVisor's own kernel"
NO_CAPS = "no capabilities"
READ_ONLY = "read-only system image"
ABSENT = "not in the sandbox's files"
NO_NETWORK = "no network device but loopback"
NO_PRIVILEGES = "no new privileges"

CONNECT = "import socket; attempt(lambda: socket.create_connection(({host!r}, {port}), timeout=2))"
RAW = "import socket; attempt(lambda: socket.socket({family}, {kind}, {protocol}))"

ATTEMPTS = [
    Attempt("mount a file system", "attempt(lambda: call(165, b'none', b'/tmp', b'tmpfs', 0, 0))", NO_CAPS),
    Attempt("mount proc anew", "attempt(lambda: call(165, b'proc', b'/tmp', b'proc', 0, 0))", NO_CAPS),
    Attempt("remount the root writable", "attempt(lambda: call(165, b'/', b'/', 0, 32 | 4096, 0))", NO_CAPS),
    Attempt("unmount the system", "attempt(lambda: call(166, b'/usr/lib', 2))", NO_CAPS),
    Attempt("move the mount with the new calls", "attempt(lambda: call(430, b'ext4', 0))", KERNEL),
    Attempt("pivot the root", "attempt(lambda: call(155, b'/tmp', b'/tmp'))", NO_CAPS),
    Attempt("chroot", "attempt(lambda: os.chroot('/tmp'))", NO_CAPS),
    Attempt("write to the system", "attempt(lambda: open('/usr/bin/evil', 'w'))", READ_ONLY),
    Attempt("write to the Python environment", "attempt(lambda: open('/opt/env/lib/evil.py', 'w'))", READ_ONLY),
    Attempt("change the agent", "attempt(lambda: open('/opt/agent/sandbox/guest/agent.py', 'a'))", READ_ONLY),
    Attempt("write to etc", "attempt(lambda: open('/etc/passwd', 'a'))", READ_ONLY),
    Attempt("remove the shell", "attempt(lambda: os.unlink('/usr/bin/bash'))", READ_ONLY),
    Attempt("read the machine's shadow file", "attempt(lambda: open('/etc/shadow').read())", ABSENT),
    Attempt("read root's home", "attempt(lambda: os.listdir('/root'))", ABSENT),
    Attempt("read the machine's logs", "attempt(lambda: os.listdir('/var/log'))", ABSENT),
    Attempt("read the machine's sockets", "attempt(lambda: os.listdir('/run'))", ABSENT),
    Attempt("find docker's socket", "attempt(lambda: os.stat('/var/run/docker.sock'))", ABSENT),
    Attempt("read the initial process's root", "attempt(lambda: os.listdir('/proc/1/root/root'))", ABSENT),
    Attempt("read kernel memory", "attempt(lambda: open('/dev/mem', 'rb').read(1))", ABSENT),
    Attempt("read kernel symbols", "attempt(lambda: open('/proc/kallsyms').read())", KERNEL),
    Attempt("read the kernel's core", "attempt(lambda: open('/proc/kcore', 'rb').read(8))", KERNEL),
    Attempt("trigger sysrq", "attempt(lambda: open('/proc/sysrq-trigger', 'w').write('b'))", KERNEL),
    Attempt(
        "set a core pattern", "attempt(lambda: open('/proc/sys/kernel/core_pattern', 'w').write('|/x'))", KERNEL
    ),
    Attempt("set modprobe", "attempt(lambda: open('/proc/sys/kernel/modprobe', 'w').write('/x'))", KERNEL),
    Attempt(
        "use a release agent", "attempt(lambda: open('/sys/fs/cgroup/release_agent', 'w').write('/x'))", KERNEL
    ),
    Attempt("make a cgroup", "attempt(lambda: os.mkdir('/sys/fs/cgroup/evil'))", KERNEL),
    Attempt("open a disk", "attempt(lambda: open('/dev/vda', 'rb').read(1))", ABSENT),
    Attempt("make a device", "attempt(lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0)))", NO_CAPS),
    Attempt("become root", "attempt(lambda: os.setuid(0))", NO_CAPS),
    Attempt("become root by group", "attempt(lambda: os.setgroups([0]))", NO_CAPS),
    Attempt(
        "become root by a set-uid program",
        "import shutil, subprocess\nshutil.copy('/usr/bin/id', '/tmp/id'); os.chmod('/tmp/id', 0o4755)\n"
        "out = subprocess.run(['/tmp/id', '-u'], capture_output=True, text=True).stdout\n"
        "print('ESCAPED' if out.strip() == '0' else 'stopped: ' + out)",
        NO_PRIVILEGES,
    ),
    Attempt(
        "use sudo or su",
        "import subprocess\nout = subprocess.run('su -c id; sudo -n id', shell=True, capture_output=True, text=True)\n"
        "print('ESCAPED' if 'uid=0' in out.stdout else 'stopped: ' + out.stderr)",
        NO_PRIVILEGES,
    ),
    Attempt("give itself capabilities", "attempt(lambda: call(126, (ctypes.c_uint32 * 2)(0x20080522, 0), "
            "(ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)))", NO_CAPS),
    Attempt("turn no-new-privileges off", "attempt(lambda: call(157, 38, 0, 0, 0, 0))", KERNEL),
    Attempt("load a kernel module", "attempt(lambda: call(175, b'x', 1, b''))", KERNEL),
    Attempt("load a kernel module from a file", "attempt(lambda: call(313, 0, b'', 0))", KERNEL),
    Attempt("load another kernel", "attempt(lambda: call(246, 0, 0, 0, 0))", KERNEL),
    Attempt("load a BPF program", "attempt(lambda: call(321, 5, (ctypes.c_uint64 * 16)(), 128))", KERNEL),
    Attempt("count performance", "attempt(lambda: call(298, (ctypes.c_uint64 * 16)(), 0, -1, -1, 0))", KERNEL),
    Attempt("use io_uring", "attempt(lambda: call(425, 8, (ctypes.c_uint32 * 30)()))", KERNEL),
    Attempt("use userfaultfd", "attempt(lambda: call(323, 0))", KERNEL),
    Attempt("open a file by handle", "attempt(lambda: call(304, -100, (ctypes.c_uint64 * 4)(), 0))", KERNEL),
    Attempt("reboot the machine", "attempt(lambda: call(169, 0xFEE1DEAD, 672274793, 0x1234567, 0))", NO_CAPS),
    Attempt("set the clock", "import time; attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))", NO_CAPS),
    Attempt("set the host's name", "import socket; attempt(lambda: socket.sethostname('evil'))", NO_CAPS),
    Attempt("swap to a file", "attempt(lambda: call(167, b'/tmp/swap', 0))", KERNEL),
    Attempt("take the machine's ports", "attempt(lambda: call(173, 0, 65536, 1))", KERNEL),
    Attempt("enter other namespaces",
            "attempt(lambda: call(308, os.open('/proc/1/ns/net', 0), 0))", NO_CAPS),
    Attempt("add a key to the session", "attempt(lambda: call(248, b'keyring', b'x', 0, 0, -1))", KERNEL),
    Attempt("raise its own limits",
            "import resource as r\nattempt(lambda: r.setrlimit(r.RLIMIT_NPROC, (9999, 9999)))", NO_CAPS),
    Attempt("open a raw socket", RAW.format(family="socket.AF_INET", kind="socket.SOCK_RAW", protocol=1), NO_CAPS),
    Attempt("open a packet socket", RAW.format(family=17, kind="socket.SOCK_RAW", protocol=0x300), NO_CAPS),
    Attempt("open a vsock to the host", RAW.format(family=40, kind="socket.SOCK_STREAM", protocol=0), KERNEL),
    Attempt("open an Alg socket", RAW.format(family=38, kind="socket.SOCK_SEQPACKET", protocol=0), KERNEL),
    Attempt("reach the metadata address", CONNECT.format(host="169.254.169.254", port=80), NO_NETWORK),
    Attempt("reach a public address", CONNECT.format(host="1.1.1.1", port=443), NO_NETWORK),
    Attempt("reach a public address by IPv6", CONNECT.format(host="2606:4700:4700::1111", port=443), NO_NETWORK),
    Attempt("resolve a name", "import socket; attempt(lambda: socket.getaddrinfo('example.com', 80))", NO_NETWORK),
    Attempt("signal every process", "attempt(lambda: os.kill(-1, 0) or [p for p in os.listdir('/proc') if p.isdigit()"
            " and os.stat('/proc/' + p).st_uid != 1000] or int('none of others'))", "own process table"),
    Attempt("speak to an abstract socket", "import socket; attempt(lambda: socket.socket(socket.AF_UNIX)"
            ".connect('\\0/org/freedesktop/systemd1'))", "own socket namespace"),
]  # fmt: skip

DENO = "Deno without the permission"
ATTEMPTS += [
    Attempt("watch the machine's files", "attempt(lambda: os.stat('/root/.ssh') or os.stat('/home/debian'))", ABSENT),
    Attempt("find pictures of other sandboxes",
            "attempt(lambda: open([p for p in os.listdir('/dev/shm') if 'portico' in p][0]))"
            " if any('portico' in p for p in os.listdir('/dev/shm')) else print('stopped: none there')",
            "a /dev/shm of its own"),
    Attempt("use the way out of sandboxes that have one", CONNECT.format(host="127.0.0.1", port=3128),
            "there is none unless it is asked for and allowed"),
    Attempt("change what kernels import", "attempt(lambda: open('/opt/env/lib/x.pth', 'w'))", READ_ONLY),
    Attempt("change the certificates", "attempt(lambda: open('/etc/ssl/certs/ca-certificates.crt', 'a'))", READ_ONLY),
    Attempt("replace the JavaScript kernel", "attempt(lambda: os.unlink('/opt/env/bin/deno'))", READ_ONLY),
    Attempt("start a program",
            "await attempt(() => new Deno.Command('/usr/bin/id').outputSync());", DENO, "javascript"),
    Attempt("start a program as Node does",
            "import { execSync } from 'node:child_process'; await attempt(() => execSync('id'));", DENO, "javascript"),
    Attempt("load a library",
            "await attempt(() => Deno.dlopen('/usr/lib/x86_64-linux-gnu/libc.so.6', {}));", DENO, "javascript"),
    Attempt("reach the metadata address",
            "await attempt(() => fetch('http://169.254.169.254/latest/meta-data'));", DENO, "javascript"),
    Attempt("reach a server as Node does",
            "import { connect } from 'node:net'; await attempt(() => new Promise((go, fail) => "
            "connect(80, '127.0.0.1').on('connect', go).on('error', fail)));", DENO, "javascript"),
    Attempt("listen", "await attempt(() => Deno.listen({ port: 8080 }));", DENO, "javascript"),
    Attempt("load code from elsewhere",
            "await attempt(() => import('data:text/javascript,export default Deno.hostname()'));", DENO, "javascript"),
    Attempt("ask for a permission again",
            "await attempt(async () => { const it = await Deno.permissions.request({ name: 'run' });"
            " if (it.state !== 'granted') throw new Error(it.state); });", DENO, "javascript"),
    Attempt("have a worker do it",
            "await attempt(() => new Promise((go, fail) => { const code = \"try { new Deno.Command('id').outputSync();"
            " postMessage('') } catch (e) { postMessage(e.name) }\"; const it = new Worker("
            "URL.createObjectURL(new Blob([code])), { type: 'module' }); it.onerror = (e) => { e.preventDefault();"
            " fail(new Error('no worker')) }; it.onmessage = (e) => e.data ? fail(new Error(e.data)) : go(); }));",
            DENO, "javascript"),
    Attempt("signal process 1", "await attempt(() => Deno.kill(1, 'SIGKILL'));", DENO, "javascript"),
    Attempt("learn about the machine", "await attempt(() => Deno.systemMemoryInfo());", DENO, "javascript"),
    Attempt("write to the system",
            "await attempt(() => Deno.writeTextFile('/usr/bin/x', ''));", READ_ONLY, "javascript"),
    Attempt("read the machine's shadow file",
            "await attempt(() => Deno.readTextFile('/etc/shadow'));", ABSENT, "javascript"),
    Attempt("reach the metadata address",
            "(exec 3<>/dev/tcp/169.254.169.254/80) 2>/dev/null && echo ESCAPED || echo stopped:", NO_NETWORK, "bash"),
    Attempt("become root in namespaces of its own",
            "unshare --user --map-root-user --mount mount -t tmpfs x /usr 2>/dev/null && "
            "! ls /usr/bin/bash && echo ESCAPED || echo stopped:",
            "namespaces of gVisor's, gone with the command", "bash"),
    Attempt("trace process 1",
            "(strace -p 1 || gdb -p 1 -batch) 2>&1 | grep -q attached && echo ESCAPED || echo stopped:",
            ABSENT, "bash"),
]  # fmt: skip
HELPERS = {
    "python": SYSCALL + TRIES,
    "javascript": """globalThis.attempt = async (act) => {
        try { console.log('ESCAPED', await act()) }
        catch (error) { console.log('stopped:', error.name, error.message) }
    }""",
    "bash": "true",
}


def published() -> str:
    """The list as docs/sandbox.md shows it."""
    for module in MODULES:
        importlib.import_module(f"tests.sandbox.{module}")
    rows = [(f"{each.name} ({each.language})", each.by) for each in ATTEMPTS] + sorted(set(TRIED))
    table = [f"| {number} | {name} | {by} |" for number, (name, by) in enumerate(rows, 1)]
    return "\n".join([BEGIN, "| | attempt | stopped by |", "|---|---|---|", *table, END])


def main() -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + published() + rest.partition(END)[2])


if __name__ == "__main__":
    importlib.import_module("tests.sandbox.attempts").main()  # the one that the tests mark
