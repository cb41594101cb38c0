"""The seccomp profile for containers: as its script writes it, enough for sandboxes, and no more."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from e2b_code_interpreter import Sandbox

from infra.docker import seccomp
from operations.setup.binaries import RUNSC, cache_directory
from tests.sandbox import filtered
from tests.sandbox.conftest import start_service, stop_service
from tests.sandbox.test_unprivileged import BECOME, as_somebody, needs_root

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FILTERED = [sys.executable, filtered.__file__, str(seccomp.TARGET)]
can_filter = pytest.mark.skipif(
    platform.machine() != "x86_64" or not any(path.exists() for path in filtered.HEADERS),
    reason="the numbers of system calls are read from the C library's headers for x86-64",
)
DANGEROUS = """
    init_module finit_module delete_module kexec_load kexec_file_load bpf perf_event_open keyctl add_key request_key
    io_uring_setup io_uring_enter io_uring_register userfaultfd swapon swapoff reboot settimeofday clock_settime
    adjtimex clock_adjtime iopl ioperm acct quotactl syslog open_by_handle_at name_to_handle_at lookup_dcookie
    move_pages mbind set_mempolicy nfsservctl vhangup kcmp modify_ldt uselib ustat sysfs _sysctl fanotify_init
    mount_setattr fsopen fsmount fsconfig fspick move_mount open_tree
"""


def test_the_file_is_what_the_script_writes() -> None:
    assert seccomp.TARGET.read_text() == seccomp.text()


def test_nothing_dangerous_is_listed() -> None:
    listed = {name for rule in seccomp.profile()["syscalls"] for name in rule["names"]}

    assert not listed & set(DANGEROUS.split())


@can_filter
def test_what_is_not_listed_is_refused() -> None:
    asked = {name: filtered.numbers()[name] for name in DANGEROUS.split() if name in filtered.numbers()}
    code = f"""import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
for name, number in {asked!r}.items():
    ctypes.set_errno(0)
    assert libc.syscall(number, -1, -1, -1, -1, -1) == -1 and ctypes.get_errno() == 1, name
for family in (17, 38, 40):
    try: socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM)
    except PermissionError: continue
    raise AssertionError(family)
socket.socket(); print('all refused')"""
    done = subprocess.run([*FILTERED, sys.executable, "-c", code], capture_output=True, text=True, timeout=30)

    assert done.stdout == "all refused\n", done.stderr


@can_filter
@needs_root
def test_sandboxes_work_under_it(tmp_path: Path) -> None:
    """As in a container: an ordinary user without capabilities, and no more than the profile."""
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    through = as_somebody(tmp_path, " ".join(["exec", BECOME, *FILTERED]))
    service = start_service(tmp_path, "--image-dir", str(cache_directory() / "sandbox"), through=through)
    try:
        assert "Seccomp:\t2" in Path(f"/proc/{service.process.pid}/status").read_text()
        sandbox = Sandbox.create(**service.options)
        assert sandbox.run_code("import numpy; int(numpy.arange(4).sum())").text == "6"
        assert sandbox.run_code("1 + 1", language="js").text == "2"
        assert sandbox.commands.run("echo $((6 * 7)) > f; cat f").stdout == "42\n"
        sandbox.pause()
        assert Sandbox.connect(sandbox.sandbox_id, **service.options).commands.run("cat f").stdout == "42\n"
        assert os.geteuid() == 0
    finally:
        stop_service(service)
