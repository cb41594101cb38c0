"""The house keeps its order: every module under a rule, tests where the code is, and no name that leads nowhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
CODE = tuple(PROJECT["tool"]["setuptools"]["packages"])
NOT_CODE = {"tests", "docs", "benchmarks", "infra"}
PLACES = (
    *(
        ".ci/run",
        "Makefile",
        ".dockerignore",
        "pyproject.toml",
        "compose.yaml",
        "CONTRIBUTING.md",
        "README.md",
    ),
    *(
        "infra/docker/*.Dockerfile",
        "infra/docker/*.yaml",
        "infra/kubernetes/**/*.tpl",
        "infra/kubernetes/**/*.yaml",
    ),
    *("infra/terraform/**/*.tf", "operations/**/*.sh", "docs/**/*.md"),
    *(f"{folder}/**/*.py" for folder in (*CODE, "benchmarks", "infra", "docs", "tests")),
)
"""Where paths and modules stand as strings."""
FOLDERS = "|".join((*CODE, "infra", "policies", "tests", "benchmarks", "docs"))
PATH = re.compile(rf"(?<![\w./@-])((?:{FOLDERS})(?:/[\w.*-]+)+)(?![\w/])")
LISTED = re.compile(rf"(?:{'|'.join(CODE)})(?:\.\w+)+:[a-z_]\w*")
IMPORTED = re.compile(r"\bfrom ([a-z_]+(?:\.\w+)+) import (\w+(?: as \w+)?(?:, \w+)*)")
DOTTED = re.compile(r"[a-z_]+(?:\.\w+){2,}")
STARTED = re.compile(r"""-m["',\s]+"?((?:[a-z_]+\.)+[a-z_]+)""")
NAMED_FOR_THE_READER = {
    "activities/functions/dice.py",  # the tutorial's
    "tests/alone",  # a folder that a test makes
    "docs/README.md",
}
OTHER_MEANINGS = re.compile(
    r"^portico/(?:inv|status|secrets|templates|values|sandbox\.json|browser\.json|portico|v1|v0|models|backup|sandbox|home)"
    r"|^(?:channels|sandbox|api)/(?:telegram|hook|v1|state|system|key|health)"
    r"|^tests/(?:profile|joined|missing|unknown|circle|defaults|nested|fixed)\.yaml|/[A-Z_]+(?:/|$)|\*|\.\.\."
)
"""Names inside charts, buckets, homes and URLs that begin like one of our folders."""


def tracked() -> set[str]:
    listed = subprocess.run(("git", "ls-files"), cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return set(listed.stdout.splitlines())
    return {str(path.relative_to(CHECKOUT)) for path in CHECKOUT.rglob("*") if path.is_file()}


def places() -> list[Path]:
    found = {path for pattern in PLACES for path in CHECKOUT.glob(pattern) if path.is_file()}
    known = tracked()
    own = Path(__file__)  # names wrong ones on purpose
    return sorted(path for path in found - {own} if str(path.relative_to(CHECKOUT)) in known)


def paths_in(text: str) -> Iterator[str]:
    for match in PATH.finditer(text):
        name = match[1].rstrip(".")
        if not OTHER_MEANINGS.search(name) and name not in NAMED_FOR_THE_READER:
            yield name


def is_there(path: str) -> bool:
    return (CHECKOUT / path).exists() or (CHECKOUT / path.partition(":")[0]).exists()


def modules_in(path: Path, text: str) -> Iterator[str]:
    """Modules named in strings: started with `-m`, imported by name, patched, listed as `module:attribute`."""
    if path.suffix != ".py":
        yield from (match[1] for match in STARTED.finditer(text))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Tuple | ast.List):
            words = [one.value if isinstance(one, ast.Constant) else "" for one in node.elts]
            yield from (after for word, after in pairwise(words) if word == "-m" and "." in str(after))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = node.args[0].value
            if called in ("import_module", "setattr", "patch", "to_thread") and _is_ours(named):
                yield named
            yield from (
                one.value for one in node.args[1:] if isinstance(one, ast.Constant) and _is_ours(one.value)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if LISTED.fullmatch(node.value):
                yield node.value.replace(":", ".")
            for module, names in IMPORTED.findall(node.value):
                yield from (
                    f"{module}.{name.split()[0]}" for name in names.split(",") if _is_ours(f"{module}.x")
                )


def _is_ours(named: object) -> bool:
    """A dotted name of at least three steps that begins with one of our folders."""
    return isinstance(named, str) and DOTTED.fullmatch(named) is not None and named.partition(".")[0] in CODE


def resolves(name: str) -> bool:
    """A module, or a name inside of one."""
    steps = name.split(".")
    for length in range(len(steps), 0, -1):
        place = CHECKOUT.joinpath(*steps[:length])
        if place.with_suffix(".py").is_file():
            inside = steps[length : length + 1]
            return (
                not inside or re.search(rf"\b{inside[0]}\b", place.with_suffix(".py").read_text()) is not None
            )
        if place.is_dir():
            return length == len(steps) or (length > 1 and not steps[length].islower())
    return importlib.util.find_spec(steps[0]) is not None and steps[0] not in CODE


@pytest.mark.parametrize("place", places(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_paths_and_modules_that_are_named_exist(place: Path) -> None:
    text = place.read_text(encoding="utf-8")
    assert [path for path in paths_in(text) if not is_there(path)] == []
    assert [name for name in modules_in(place, text) if not resolves(name)] == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run", "DEPLOYED=(compose.yaml portico/storage/migrations)"),
        ("x.Dockerfile", "COPY infra/setup infra/setup"),
        ("x.Dockerfile", 'CMD ["python", "-m", "portico.serve.probe", "api"]'),
        ("x.tpl", '{{- with list "python" "-m" "portico.serve.probe" "worker" }}'),
        ("x.md", "see `portico/egress.py`"),
        ("x.py", 'COMMANDS = {"up": ("portico.cli.up:up", "start")}'),
        ("x.py", 'CODE = "import sys; from portico.settings.settings import load_settings as load"'),
        ("x.py", 'import_module("portico.language_models.shelf")'),
        ("x.py", 'patch("portico.llm.routes.NO_SUCH_NAME", 1)'),
    ],
)
def test_a_name_that_leads_nowhere_is_noticed(file: str, text: str) -> None:
    path = Path(file)
    wrong = [name for name in paths_in(text) if not is_there(name)]
    wrong += [name for name in modules_in(path, text) if not resolves(name)]
    assert wrong


def test_every_python_folder_is_under_the_import_rules() -> None:
    rules = PROJECT["tool"]["importlinter"]
    folders = {Path(name).parts[0] for name in tracked() if name.endswith(".py") and "/" in name}
    assert folders - NOT_CODE == set(CODE) == set(rules["root_packages"])
    layers = next(rule for rule in rules["contracts"] if rule["name"] == "Layers import downward only")[
        "layers"
    ]
    alone = {rule["source_modules"][0] for rule in rules["contracts"] if "stand" in rule["name"]}
    assert {layer.partition(".")[0] for layer in layers} | alone == set(CODE)
    acyclic = next(rule for rule in rules["contracts"] if rule["type"] == "acyclic_siblings")
    assert set(acyclic["ancestors"]) == set(CODE)


@pytest.mark.parametrize("container", ["portico", "operations"])
def test_every_module_of_the_ground_and_of_operations_has_a_layer(container: str) -> None:
    rules = PROJECT["tool"]["importlinter"]["contracts"]
    rule = next(one for one in rules if one.get("containers") == [container])
    named = {name.strip() for layer in rule["layers"] for name in layer.split("|")}
    modules = {path.stem for path in (CHECKOUT / container).glob("*.py")} - {"__init__"}
    modules |= {path.parent.name for path in (CHECKOUT / container).glob("*/__init__.py")}
    assert rule["exhaustive"] and modules == named


def test_only_the_command_line_and_processes_are_entry_points() -> None:
    assert {path.parent.name for path in (CHECKOUT / "entrypoints").glob("*/__init__.py")} == {"cli", "serve"}


def test_tests_mirror_the_folders() -> None:
    """A folder of tests is named after the code's folder, or holds the tests of one module of that name."""
    folders = {Path(name).parent for name in tracked() if re.match(r"tests/.*/test_\w+\.py", name)}
    mirrored = {folder.relative_to("tests") for folder in folders if folder.parts[1] in CODE}
    for folder in mirrored:
        assert (CHECKOUT / folder).is_dir() or (CHECKOUT / folder).with_suffix(".py").is_file(), folder


def test_no_module_of_tests_outgrows_the_limit() -> None:
    modules = [name for name in tracked() if name.startswith("tests/") and name.endswith(".py")]
    lengths = {name: len((CHECKOUT / name).read_text().splitlines()) for name in modules}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


CATCH_ALLS = {
    "activities/boundary.py": "the activity boundary",
    "workflows/delivery.py": "the turn boundary",
    "triton_models/llm/check.py": "the check of a pulled model: onnx raises nothing narrower",
    "portico/tools/functions/line.py": "a function's own process",
    "portico/storage/engine/database.py": "the database thread",
}
"""Every place that catches everything, and why."""


def catches_everything(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in ("__exit__", "__aexit__"):
        returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
        return any(isinstance(one, ast.Constant) and one.value is True for one in returned)
    return False


def test_everything_is_caught_at_five_places_only() -> None:
    found = {}
    for folder in CODE:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            number = sum(map(catches_everything, ast.walk(ast.parse(path.read_text()))))
            if number:
                found[str(path.relative_to(CHECKOUT))] = number
    assert found == dict.fromkeys(CATCH_ALLS, 1)


@pytest.mark.parametrize(
    "code",
    [
        "try: pass\nexcept Exception: pass",
        "try: pass\nexcept: pass",
        "def __exit__(self, *given): return True",
    ],
)
def test_a_catch_all_is_noticed(code: str) -> None:
    assert any(map(catches_everything, ast.walk(ast.parse(code))))


def test_no_class_name_is_used_twice() -> None:
    places: dict[str, list[str]] = {}
    for folder in CODE:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path.relative_to(CHECKOUT)))
    given_by_triton = {"TritonPythonModel"}
    assert {
        name: paths for name, paths in places.items() if len(paths) > 1 and name not in given_by_triton
    } == {}
