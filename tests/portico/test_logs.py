"""What logs cost the processes that write them."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import portico.logs
assert "rich" not in sys.modules, "it was loaded"
portico.logs.configure_logs()
try:
    raise ValueError("a reason")
except ValueError:
    portico.logs.logger("test").exception("it_failed")
import rich.console
"""


def test_no_process_of_ours_loads_what_only_a_colored_traceback_needs() -> None:
    done = subprocess.run((sys.executable, "-c", CODE), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "it_failed" in done.stderr
    assert "ValueError: a reason" in done.stderr
