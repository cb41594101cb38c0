"""One Python context: an IPython shell that runs the cells that one pipe brings and reports on another.

What cells print goes to descriptors 1 and 2, as from any program, so output of subprocesses is kept too. Runs
inside the sandbox only.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.formatters import BaseFormatter
from IPython.core.interactiveshell import InteractiveShell
from traitlets import ObjectName, Unicode
from traitlets.config import Config

from sandbox.guest.cells import Cells
from sandbox.guest.charts import as_chart, plain

Emit = Callable[[dict[str, Any]], None]
MAX_RESULT = 24 * 1024 * 1024


class DataFormatter(BaseFormatter):  # type: ignore[misc]
    """A DataFrame's columns, which the code interpreter's clients get as `data`."""

    format_type = Unicode("e2b/data")
    print_method = ObjectName("_repr_e2b_data_")
    _return_type = dict


class ChartFormatter(BaseFormatter):  # type: ignore[misc]
    """What a figure shows, as the numbers and words that it was drawn from."""

    format_type = Unicode("e2b/chart")
    print_method = ObjectName("_repr_e2b_chart_")
    _return_type = dict

    def lookup(self, obj: Any) -> Callable[[Any], Any]:
        """By name and not from a register: matplotlib takes figures out of every register when it is set up."""
        if (type(obj).__module__, type(obj).__name__) != ("matplotlib.figure", "Figure"):
            raise KeyError(type(obj))
        return as_chart


def as_lists(frame: Any) -> dict[str, list[Any]]:
    """Column by column; times in ISO 8601, what is missing as null."""
    rows = json.loads(frame.to_json(orient="values", date_format="iso"))
    return {str(name): [row[at] for row in rows] for at, name in enumerate(frame.columns)}


class Publisher(DisplayPublisher):  # type: ignore[misc]
    """`display(…)`: an additional result."""

    emit: Emit

    def publish(self, data: dict[str, Any], metadata: Any = None, **_: Any) -> None:
        report_result(self.emit, data, main=False)


class OutputHook(DisplayHook):  # type: ignore[misc]
    """The value of a cell's last expression."""

    emit: Emit

    def start_displayhook(self) -> None:
        pass

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
        report_result(self.emit, format_dict, main=True)

    def finish_displayhook(self) -> None:
        pass


class KernelShell(InteractiveShell):  # type: ignore[misc]
    """IPython without a terminal: errors are reported, not printed."""

    emit: Emit
    reported = False

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        self.report_error(etype, evalue, stb)

    def report_error(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        self.reported = True
        value = str(evalue)[:10_000]
        self.emit(
            {"type": "error", "name": etype.__name__, "value": value, "traceback": "\n".join(stb)[:100_000]}
        )


def report_result(emit: Emit, data: dict[str, Any], *, main: bool) -> None:
    bundle = {kind: _jsonable(value) for kind, value in data.items() if value is not None}
    size = sum(len(value) for value in bundle.values() if isinstance(value, str))
    if size > MAX_RESULT:
        bundle = {"text/plain": f"<result of {size} bytes left out: the limit is {MAX_RESULT}>"}
    emit({"type": "result", "main": main, "data": bundle})


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        return value
    try:
        return plain(value)
    except (TypeError, ValueError):
        return str(value)


def make_shell(emit: Emit) -> KernelShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    Publisher.emit = OutputHook.emit = KernelShell.emit = staticmethod(emit)
    shell: KernelShell = KernelShell.instance(
        config=config, display_pub_class=Publisher, displayhook_class=OutputHook
    )
    formatter = DataFormatter(parent=shell.display_formatter)
    formatter.for_type_by_name("pandas", "DataFrame", as_lists)
    formatter.for_type_by_name("pandas.core.frame", "DataFrame", as_lists)
    charts = ChartFormatter(parent=shell.display_formatter)
    shell.display_formatter.formatters |= {"e2b/data": formatter, "e2b/chart": charts}
    return shell


@contextlib.contextmanager
def environment(added: dict[str, str]) -> Iterator[None]:
    """The variables of one call, gone or as before after it."""
    before = {name: os.environ.get(name) for name in added}  # noqa: TID251 - the guest's own
    os.environ.update(added)  # noqa: TID251 - the guest's own
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)  # noqa: TID251 - the guest's own
            else:
                os.environ[name] = value  # noqa: TID251 - the guest's own


def run_cell(shell: KernelShell, request: dict[str, Any], emit: Emit) -> None:
    emit({"type": "number_of_executions", "execution_count": shell.execution_count})
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with environment(request["env"]):
            shell.reported = False
            done = shell.run_cell(textwrap.dedent(request["code"]), store_history=True)
            failure = done.error_before_exec or done.error_in_exec
            if failure is not None and not shell.reported:  # as when no file can be opened for the traceback
                shell.report_error(type(failure), failure, [repr(failure)])
    except KeyboardInterrupt:  # between two steps of the shell's own
        emit({"type": "error", "name": "KeyboardInterrupt", "value": "", "traceback": "KeyboardInterrupt"})
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def renew(_: str) -> None:
    """In a copy: what draws random numbers without asking the system each time begins again."""
    for name in ("random", "numpy.random"):
        if name in sys.modules:
            sys.modules[name].seed()
    if "ssl" in sys.modules:
        sys.modules["ssl"].RAND_add(os.urandom(48), 48.0)


def main() -> None:
    cells = Cells()
    sys.path[0] = ""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]
    shell = make_shell(cells.emit)

    def renewed(seed: str) -> None:
        renew(seed)
        shell.run_cell(
            "1", store_history=False, silent=True
        )  # a copy's memory is brought in as it is used: now,
        shell.display_formatter.format(1)  # not while the first cell waits for it

    cells.serve(lambda request: run_cell(shell, request, cells.emit), renewed)


if __name__ == "__main__":
    main()
