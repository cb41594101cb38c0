"""Processes are read from /proc, whatever their name; an identity is true of one process only."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from operations.embedded.process import members
from portico.processes import ProcessIdentity, running_fields

pytestmark = pytest.mark.nothing

NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"\\xff) \\n R 1", 0, 0, 0)
print(flush=True)
sys.stdin.read()
"""
"""PR_SET_NAME: any bytes, also ones that look like the fields after the name."""


def test_a_name_of_any_bytes_does_not_stop_the_search_for_processes() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", NAMED), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout and process.stdout.readline()
        assert members(process.pid) == [process.pid]
        identity = ProcessIdentity.of(process.pid)
        assert identity and identity.alive
        process.stdin and process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.alive  # a zombie
        assert members(process.pid) == []
    assert running_fields(process.pid) is None


def test_the_own_identity_is_alive_and_others_of_the_same_id_are_not() -> None:
    own = ProcessIdentity.own()
    assert own == ProcessIdentity.of(os.getpid())
    assert own.alive
    assert not replace(own, started=own.started - 1).alive
    assert not replace(own, boot="another").alive
