"""Code through E2B's unmodified code-interpreter SDK."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator

import pytest
from e2b_code_interpreter import Sandbox
from e2b_code_interpreter.models import Logs

from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(envs={"GREETING": "hello"}, **service.options)
    yield made
    made.kill()


def test_a_cell_that_raises_reports_the_error(sandbox: Sandbox) -> None:
    error = sandbox.run_code("1/0").error

    assert error is not None
    assert (error.name, error.value) == ("ZeroDivisionError", "division by zero")
    assert "1/0" in error.traceback


def test_code_that_does_not_parse_reports_the_error(sandbox: Sandbox) -> None:
    error = sandbox.run_code("for").error

    assert error is not None
    assert error.name == "SyntaxError"


def test_a_context_keeps_its_state(sandbox: Sandbox) -> None:
    sandbox.run_code("kept = 20")

    assert sandbox.run_code("kept + 1").text == "21"


def test_contexts_do_not_share_state(sandbox: Sandbox) -> None:
    context = sandbox.create_code_context(cwd="/tmp")
    sandbox.run_code("mine = 1")

    assert sandbox.run_code("import os; os.getcwd()", context=context).text == "/tmp"
    assert sandbox.run_code("'mine' in globals()", context=context).text == "False"
    sandbox.run_code("other = 1", context=context)
    sandbox.restart_code_context(context)
    assert sandbox.run_code("'other' in globals()", context=context).text == "False"
    sandbox.remove_code_context(context)
    assert context.id not in {each.id for each in sandbox.list_code_contexts()}


def test_output_is_told_apart_and_streamed(sandbox: Sandbox) -> None:
    seen: list[float] = []
    code = "import sys, time\nprint('one', flush=True)\ntime.sleep(0.3)\nprint('two')\nprint('bad', file=sys.stderr)"

    done = sandbox.run_code(code, on_stdout=lambda _: seen.append(time.monotonic()))

    assert "".join(done.logs.stdout) == "one\ntwo\n"
    assert "".join(done.logs.stderr) == "bad\n"
    assert seen[1] - seen[0] > 0.2


def test_output_of_a_subprocess_is_kept(sandbox: Sandbox) -> None:
    assert sandbox.run_code("import subprocess; subprocess.run(['echo', 'below'])").logs == Logs(
        ["below\n"], []
    )


def test_results_come_in_every_form(sandbox: Sandbox) -> None:
    code = "from IPython.display import *\nfor it in (HTML('<b>h</b>'), Markdown('*m*'), JSON({'a': 1})): display(it)"

    html, markdown, json = sandbox.run_code(code).results

    assert (html.html, markdown.markdown, json.json) == ("<b>h</b>", "*m*", {"a": 1})
    assert not html.is_main_result


def test_a_table_comes_with_its_data(sandbox: Sandbox) -> None:
    (result,) = sandbox.run_code("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', None]})").results

    assert result.data == {"a": [1, 2], "b": ["x", None]}
    assert result.html is not None and "<table" in result.html


def test_a_plot_comes_as_a_picture(sandbox: Sandbox) -> None:
    done = sandbox.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")

    pictures = [result.png for result in done.results if result.png]
    assert [base64.b64decode(picture)[:4] for picture in pictures] == [b"\x89PNG"]


def test_variables_of_a_call_end_with_it(sandbox: Sandbox) -> None:
    read = "import os; (os.environ.get('GREETING'), os.environ.get('OWN'))"

    assert sandbox.run_code(read, envs={"OWN": "1", "GREETING": "hi"}).text == "('hi', '1')"
    assert sandbox.run_code(read).text == "('hello', None)"


def test_awaits_at_the_top_level(sandbox: Sandbox) -> None:
    assert sandbox.run_code("import asyncio\nawait asyncio.sleep(0.01, 'slept')").text == "slept"


def test_a_client_that_gives_up_interrupts_its_cell(sandbox: Sandbox) -> None:
    sandbox.run_code("still = 'there'")
    with pytest.raises(Exception, match="timed out"):
        sandbox.run_code("while True: pass", timeout=1)

    assert sandbox.run_code("still", timeout=5).text == "there"


def test_a_cell_that_ignores_interrupts_loses_its_kernel(sandbox: Sandbox) -> None:
    stubborn = "while True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass"
    with pytest.raises(Exception, match="timed out"):
        sandbox.run_code(stubborn, timeout=1)

    assert sandbox.run_code("1 + 1", timeout=15).text == "2"


def test_a_kernel_that_dies_is_said_and_replaced(sandbox: Sandbox) -> None:
    error = sandbox.run_code("import os; os._exit(3)").error

    assert error is not None
    assert error.name == "ContextLost"
    assert sandbox.run_code("2 + 2").text == "4"


def test_a_flood_of_output_ends_the_cell(sandbox: Sandbox) -> None:
    error = sandbox.run_code("while True: print('x' * 65536)").error

    assert error is not None
    assert error.name == "OutputLimitExceeded"
    assert sandbox.run_code("3 + 3").text == "6"


def test_killing_a_sandbox_breaks_its_running_cell(service: Service) -> None:
    victim = Sandbox.create(**service.options)
    killer = threading.Timer(1, victim.kill)
    killer.start()

    with pytest.raises(Exception, match=r"killed|not found|disconnected|peer closed"):
        victim.run_code("import time; time.sleep(30)")
    killer.join()
    assert not victim.is_running()


CHARTS = {
    "line": "plt.plot([1, float('nan'), 2], label='a'); plt.title('T'); plt.xlabel('x (s)')",
    "scatter": "plt.scatter([1, 2], [3, 4])",
    "bar": "plt.bar(['a', 'b'], [1, 2])",
    "pie": "plt.pie([1, 3], labels=['x', 'y'])",
    "box_and_whisker": "plt.boxplot([[1, 2, 3, 4, 99], [5, 6, 7]], tick_labels=['one', 'two'])",
    "superchart": "f, (a, b) = plt.subplots(1, 2); a.plot([1, 2]); b.bar(['q'], [1])",
    "unknown": "plt.imshow([[1, 2], [3, 4]])",
}


@pytest.mark.parametrize("kind", CHARTS)
def test_a_figure_comes_as_numbers_too(sandbox: Sandbox, kind: str) -> None:
    done = sandbox.run_code(f"import matplotlib.pyplot as plt\n{CHARTS[kind]}\nplt.show()")

    (chart,) = [result.chart for result in done.results if result.chart]
    assert (chart.type.value, done.logs.stderr) == (kind, [])
    json.dumps(chart.to_dict(), allow_nan=False)
    if kind == "line":
        assert (chart.title, chart.to_dict()["x_unit"]) == ("T", "s")
        assert chart.elements[0].points == [(0, 1), (1, None), (2, 2)]
    if kind == "superchart":
        assert [each.type.value for each in chart.elements] == ["line", "bar"]
    if kind == "box_and_whisker":
        one, two = chart.elements
        assert (one.label, one.min, one.median, one.max, one.outliers) == ("one", 1, 3, 4, [99])
        assert (two.label, two.first_quartile, two.third_quartile, two.outliers) == ("two", 5.5, 6.5, [])


@pytest.mark.parametrize(
    "how", ["patch_artist=True", "orientation='horizontal'", "notch=True", "showfliers=False"]
)
def test_a_box_plot_of_another_style_is_no_error(sandbox: Sandbox, how: str) -> None:
    done = sandbox.run_code(f"import matplotlib.pyplot as plt\nplt.boxplot([1, 2, 3, 4], {how})\nplt.show()")

    assert done.error is None
    (result,) = done.results
    assert result.png
    if how != "notch=True":
        assert result.chart.elements[0].median == 2.5
