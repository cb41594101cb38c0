"""`python -m operations.setup [up|check|bench|browser|sandbox|on-demand|setup] …`: set up, then hand over."""

from __future__ import annotations

import os
import signal
import sys

from operations.setup import system
from operations.setup.binaries import CHECKOUT
from operations.setup.environments import MAIN
from operations.setup.shell import SetupFailed, break_off
from operations.setup.steps import provide_functions, provide_sandbox, set_up

DEV = ("check", "bench", "browser", "sandbox")


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    goal, rest = (arguments[0], arguments[1:]) if arguments else ("setup", [])
    try:
        if goal != "on-demand":  # asked for by a stack that runs
            set_up(dev=goal in DEV)
        if goal in ("sandbox", "on-demand"):
            provide_sandbox()
        if goal == "sandbox":
            provide_functions()
    except SetupFailed as error:
        sys.stderr.write(f"set-up    {error}\n")
        return 1
    except OSError as error:  # a folder that is not ours, a full disk
        sys.stderr.write(f"set-up    {error.strerror}: {error.filename}\n")
        return 1
    except KeyboardInterrupt:
        break_off()
        return 130
    if goal == "browser":
        system.provide_browser()
    if goal == "up":
        os.chdir(CHECKOUT)
        os.execv(MAIN / "bin" / "portico", ["portico", "up", *rest])
    return 0


sys.exit(main(sys.argv[1:]))
