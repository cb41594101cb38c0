"""What people try in order to get out of a sandbox, to reach another, or to take the machine down with it.

Each attempt is code that says `ESCAPED…` if it got what it wanted, with what stopped it beside. docs/sandbox.md
publishes the list.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from e2b_code_interpreter import Sandbox

from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

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

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


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


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(**service.options)
    made.run_code(SYSCALL + TRIES)
    yield made
    made.kill()


def test_a_trial_that_succeeds_would_be_seen(sandbox: Sandbox) -> None:
    assert "ESCAPED" in "".join(sandbox.run_code("attempt(lambda: open('/tmp/mine', 'w'))").logs.stdout)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_is_stopped(sandbox: Sandbox, attempt: Attempt) -> None:
    done = sandbox.run_code(attempt.code, timeout=20)

    said = "".join(done.logs.stdout)
    assert done.error is None, done.error
    assert said.startswith("stopped:"), said
    assert "ESCAPED" not in said


def test_the_gateways_files_are_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the key")
    there = sandbox.run_code(
        f"import os; [os.path.exists(p) for p in ({str(secret)!r}, {str(Path.cwd())!r})]"
    ).text

    assert there == "[False, False]"


def test_the_services_environment_is_not_there(sandbox: Sandbox) -> None:
    code = "import glob\nb''.join(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/environ')).count(b'PYTEST')"

    assert os.environ.get("PYTEST_CURRENT_TEST")
    assert sandbox.run_code(code).text == "0"


def test_a_server_on_the_machines_loopback_is_not_reached(sandbox: Sandbox) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        socket.create_connection(server.server_address[:2], timeout=2).close()
        code = CONNECT.format(host="127.0.0.1", port=server.server_address[1])
        assert "stopped: ConnectionRefused" in "".join(sandbox.run_code(code).logs.stdout)
    finally:
        server.shutdown()
        server.server_close()


def test_two_sandboxes_share_nothing(service: Service, sandbox: Sandbox) -> None:
    other = Sandbox.create(**service.options)
    try:
        for folder in ("/tmp", "/dev/shm", "/home/user"):
            sandbox.files.write(f"{folder}/left-here", "secret")
            assert not other.files.exists(f"{folder}/left-here")
        pid = sandbox.commands.run("sleep 97", background=True).pid
        seen = other.commands.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
        assert "sleep 97" not in seen
        sandbox.commands.kill(pid)
    finally:
        other.kill()


def test_a_symlink_leads_nowhere_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the key")
    sandbox.commands.run(f"ln -s {tmp_path}/secret /home/user/link; ln -s / /home/user/root")

    with pytest.raises(Exception, match="not found"):
        sandbox.files.read("link")
    with pytest.raises(Exception, match="not found"):
        sandbox.files.read(f"root{tmp_path}/secret")


@pytest.mark.parametrize(
    "path", ["../../../../etc/shadow", "/../../etc/shadow", "..%2f..%2fetc%2fshadow", "．．/etc/shadow"]
)
def test_no_path_leads_outside(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(Exception, match="not found"):
        sandbox.files.read(path)
