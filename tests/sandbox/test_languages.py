"""JavaScript, TypeScript and bash through E2B's unmodified code-interpreter SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from e2b import TimeoutException
from e2b_code_interpreter import Sandbox

from tests.sandbox.conftest import Service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def sandbox(service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(envs={"GREETING": "hello"}, **service.options)
    yield made
    made.kill()


@pytest.mark.parametrize(
    "language,code,name,value",
    [
        ("javascript", "throw new TypeError('no')", "TypeError", "no"),
        ("javascript", "foo(", "SyntaxError", "Expression expected"),
        ("typescript", "const a: = 1", "SyntaxError", ""),
        ("javascript", "await import('npm:lodash')", "Error", "module"),
        ("bash", "cd /nowhere", "CommandFailed", "exit status 1"),
        ("bash", "for", "CommandFailed", "exit status 2"),
    ],
)
def test_an_error_is_reported(sandbox: Sandbox, language: str, code: str, name: str, value: str) -> None:
    error = sandbox.run_code(code, language=language).error

    assert error is not None
    assert error.name == name
    assert value in error.value
    assert error.traceback


def test_a_language_that_is_not_spoken_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match="Language cobol is not supported"):
        sandbox.run_code("1", language="cobol")
    with pytest.raises(Exception, match="Language cobol is not supported"):
        sandbox.create_code_context(language="cobol")


@pytest.mark.parametrize(
    "code,refused",
    [
        ("await fetch('http://1.1.1.1/')", "net"),
        ("await Deno.connect({ hostname: '127.0.0.1', port: 80 })", "net"),
        ("new Deno.Command('id').outputSync()", "run"),
        ("Deno.dlopen('/usr/lib/x86_64-linux-gnu/libc.so.6', {})", "ffi"),
        ("Deno.hostname()", "sys"),
        (
            "await Deno.permissions.request({ name: 'run' }).then((it) => { if (it.state != 'granted') throw it; })",
            "",
        ),
    ],
)
def test_javascript_may_not_leave_its_files(sandbox: Sandbox, code: str, refused: str) -> None:
    error = sandbox.run_code(code, language="javascript").error

    assert error is not None
    if refused:
        assert error.name == "NotCapable"
        assert refused in error.value


@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_a_script_keeps_its_state_and_its_streams_apart(sandbox: Sandbox, language: str) -> None:
    done = sandbox.run_code(
        "let kept = 20; console.log('out'); console.error('err'); kept", language=language
    )

    assert (done.logs.stdout, done.logs.stderr, done.text) == (["out\n"], ["err\n"], "20")
    assert sandbox.run_code("kept + 1", language=language).text == "21"


def test_types_are_understood(sandbox: Sandbox) -> None:
    code = "interface Point { x: number }\nconst p: Point = { x: 3 };\np.x as number"

    assert sandbox.run_code(code, language="typescript").text == "3"
    assert sandbox.run_code(code, language="ts").text == "3"


def test_javascript_reads_and_writes_the_sandboxs_files(sandbox: Sandbox) -> None:
    sandbox.run_code("await Deno.writeTextFile('from.txt', 'js')", language="javascript")

    assert sandbox.files.read("from.txt") == "js"


def test_javascript_shows_what_it_makes(sandbox: Sandbox) -> None:
    code = "await Deno.jupyter.display(Deno.jupyter.md`*m*`); Deno.jupyter.html`<b>h</b>`"

    markdown, html = sandbox.run_code(code, language="js").results

    assert (markdown.markdown, html.html) == ("*m*", "<b>h</b>")
    assert html.is_main_result and not markdown.is_main_result


@pytest.mark.parametrize(
    "language,code",
    [
        (
            "javascript",
            "for (const it of [1, 2]) { console.log(it); await new Promise((go) => setTimeout(go, 400)); }",
        ),
        ("bash", "for it in 1 2; do echo $it; sleep 0.4; done"),
    ],
)
def test_output_is_streamed(sandbox: Sandbox, language: str, code: str) -> None:
    seen: list[float] = []
    sandbox.run_code(code, language=language, on_stdout=lambda _: seen.append(time.monotonic()))

    assert len(seen) == 2
    assert seen[1] - seen[0] > 0.2


@pytest.mark.parametrize(
    "language,read,mine,after",
    [
        ("javascript", "[Deno.env.get('GREETING'), Deno.env.get('OWN')].join()", "hi,1", "hello,"),
        ("bash", "echo $GREETING,$OWN", "hi,1", "hello,"),
    ],
)
def test_variables_of_a_call_end_with_it(
    sandbox: Sandbox, language: str, read: str, mine: str, after: str
) -> None:
    for envs, wanted in (({"OWN": "1", "GREETING": "hi"}, mine), ({}, after)):
        done = sandbox.run_code(read, language=language, envs=envs)
        assert (done.text or "".join(done.logs.stdout).strip()) == wanted


@pytest.mark.parametrize(
    "language,keep,endless,read",
    [
        ("javascript", "globalThis.still = 'there'", "while (true) {}", "still"),
        ("bash", "still=there", "sleep 60; echo after", "echo $still"),
        ("bash", "still=there", "while true; do sleep 1; done", "echo $still"),
    ],
)
def test_a_client_that_gives_up_interrupts_its_cell(
    sandbox: Sandbox, language: str, keep: str, endless: str, read: str
) -> None:
    sandbox.run_code(keep, language=language)
    with pytest.raises(TimeoutException):
        sandbox.run_code(endless, language=language, timeout=1)

    done = sandbox.run_code(read, language=language, timeout=8)
    assert (done.text or "".join(done.logs.stdout).strip()) == "there"


@pytest.mark.parametrize("language,leave", [("javascript", "Deno.exit(3)"), ("bash", "exit 3")])
def test_a_kernel_that_ends_is_said_and_replaced(sandbox: Sandbox, language: str, leave: str) -> None:
    error = sandbox.run_code(leave, language=language).error

    assert error is not None
    assert error.name == "ContextLost"
    assert (
        sandbox.run_code("let fresh = 1" if language == "javascript" else "true", language=language).error
        is None
    )


def test_a_flood_of_output_ends_the_cell(sandbox: Sandbox) -> None:
    error = sandbox.run_code("yes", language="bash").error

    assert error is not None
    assert error.name == "OutputLimitExceeded"
    assert sandbox.run_code("echo on", language="bash").logs.stdout == ["on\n"]


@pytest.mark.parametrize(
    "language,where", [("javascript", "Deno.cwd()"), ("bash", "pwd"), ("typescript", "Deno.cwd()")]
)
def test_contexts_are_made_listed_restarted_and_removed(sandbox: Sandbox, language: str, where: str) -> None:
    context = sandbox.create_code_context(language=language, cwd="/tmp")

    assert context.language == language
    assert {"python", "javascript", language} <= {each.language for each in sandbox.list_code_contexts()}
    done = sandbox.run_code(where, context=context)
    assert (done.text or "".join(done.logs.stdout).strip()) == "/tmp"
    sandbox.restart_code_context(context)
    assert sandbox.run_code("1", context=context).error is None or language == "bash"
    sandbox.remove_code_context(context)
    with pytest.raises(Exception, match="not found"):
        sandbox.run_code("1", context=context)
