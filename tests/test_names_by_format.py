"""Names of files and modules in build, deployment and project files, each read in the format of its file.

`test_layout.py` searches all text for paths with a slash and dotted modules. This reads what
has neither: `COPY console`, `!api`, `-m sandbox`, mounts, globs, and the tables of pyproject.toml.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
CODE = tuple(PROJECT["tool"]["setuptools"]["packages"])
RUNNABLE = (*CODE, "benchmarks", "docs", "infra", "tests")
"""Folders whose modules a command may start with `-m`."""

DOTTED = re.compile(r"(?:entrypoints|operations|activities|triton_models)(?:\.[A-Za-z_]\w*)+")
"""Begins like a module and nothing else: attributes of traces and tools begin with the other folders."""

Reader = Callable[[str], Iterator[str]]

STARTED = re.compile(r"""(?<![\w-])-m["'\s,\[\]-]+([A-Za-z_]\w*(?:\.\w+)*)""")
PYTHON = re.compile(r"""python3?(?:\.\d+)?["'\s,-]*$""")
INLINE = re.compile(r"(?:\\n|\b)(?:from|import) ([a-z_]\w*(?:\.\w+)*)(?: import (\w+))?")
MOUNT = re.compile(r"""(?:^\s*-\s+|\[|,\s*)["']?\./([\w./-]+):/""", re.MULTILINE)
GENERATED = {"infra/binaries/runsc"}
"""Built into the context before the image."""


def path_exists(path: str) -> bool:
    return path in GENERATED or (CHECKOUT / path).exists()


def module_exists(name: str) -> bool:
    """A package or a module; modules of others are taken as existing."""
    steps = name.split(".")
    if steps[0] not in RUNNABLE:
        return True
    place = CHECKOUT.joinpath(*steps)
    return place.with_suffix(".py").is_file() or (place.is_dir() and any(place.glob("*.py")))


def missing_paths(paths: Iterator[str]) -> Iterator[str]:
    yield from (path for path in paths if not path_exists(path))


def started_modules(text: str) -> Iterator[str]:
    """`python -m sandbox`, `"python", "-m", "sandbox"`, and the same as a YAML list.

    After `python`, a module that is neither ours nor a known program is wrong; elsewhere (`$py -m`, `grep -m`) only
    ours are looked at.
    """
    for match in STARTED.finditer(text):
        after_python = PYTHON.search(text[: match.start()]) is not None
        if not module_exists(match[1]) or (after_python and not _is_known(match[1])):
            yield match[1]


PROGRAMS = {"pip", "venv", "http", "pytest", "compileall", "uvicorn", "deptry", "json", "zipfile", "site"}


def _is_known(name: str) -> bool:
    return name.partition(".")[0] in {*RUNNABLE, *PROGRAMS}


def ci_paths(text: str) -> Iterator[str]:
    """The list of what triggers the tests of the deployment."""
    lists = re.findall(r"^DEPLOYED=\(([^)]*)\)", text, re.MULTILINE)
    assert lists, "DEPLOYED is not read any more"
    yield from missing_paths(path for words in lists for path in words.split())


def docker_ignored(text: str) -> Iterator[str]:
    yield from missing_paths(line[1:] for line in text.splitlines() if line.startswith("!"))


def dockerfile_names(text: str) -> Iterator[str]:
    """Sources of COPY from the context, modules that are started, and imports of inline programs."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            words = [word for word in line.split()[1:] if not word.startswith("--")]
            yield from missing_paths(iter(words[:-1]))
        if not line.startswith("#"):
            yield from (
                f"{name} {item}" for name, item in INLINE.findall(line) if not _importable(name, item)
            )
    yield from started_modules(text)


def _importable(module: str, item: str) -> bool:
    if not module_exists(module):
        return False
    return (
        module.split(".")[0] not in RUNNABLE
        or not item
        or _defines(module, item)
        or module_exists(f"{module}.{item}")
    )


def compose_names(text: str) -> Iterator[str]:
    yield from missing_paths(iter(MOUNT.findall(text)))
    yield from missing_paths(iter(re.findall(r"dockerfile: ([^,}\s]+)", text)))
    yield from started_modules(text)


def project_names(text: str) -> Iterator[str]:
    """Scripts, packages and their data, globs of ruff, the import rules, expressions of deptry."""
    project = tomllib.loads(text)
    for target in project.get("project", {}).get("scripts", {}).values():
        module, _, attribute = target.partition(":")
        if not module_exists(module) or not _defines(module, attribute):
            yield target
    tools: dict[str, Any] = project.get("tool", {})
    packages = tools.get("setuptools", {})
    yield from missing_paths(iter(packages.get("packages", [])))
    for package, globs in packages.get("package-data", {}).items():
        yield from (glob for glob in globs if not any((CHECKOUT / package).glob(glob)))
    for glob in tools.get("ruff", {}).get("lint", {}).get("per-file-ignores", {}):
        if not any(CHECKOUT.glob(glob)):
            yield glob
    yield from _rule_names(tools.get("importlinter", {}))
    deptry = tools.get("deptry", {})
    yield from missing_paths(iter(deptry.get("known_first_party", [])))
    folders = (
        re.split(r"[(*]", pattern.lstrip("^"))[0].rstrip("/") for pattern in deptry.get("extend_exclude", [])
    )
    yield from missing_paths(folders)


def _rule_names(rules: dict[str, Any]) -> Iterator[str]:
    yield from missing_paths(iter(rules.get("root_packages", [])))
    for contract in rules.get("contracts", []):
        names = [name.strip(" ()") for layer in contract.get("layers", []) for name in layer.split("|")]
        for container in contract.get("containers", [""]):
            yield from (name for name in names if not module_exists(f"{container}.{name}".lstrip(".")))
        for key in ("source_modules", "forbidden_modules", "ancestors", "containers"):
            yield from (name for name in contract.get(key, []) if not module_exists(name))


def _defines(module: str, attribute: str) -> bool:
    place = CHECKOUT.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(place.read_text()) if place.is_file() else ast.Module([], [])
    return any(attribute in (getattr(node, "name", ""), *_assigned(node)) for node in tree.body)


def _assigned(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [getattr(target, "id", "") for target in targets]


def code_names(text: str) -> Iterator[str]:
    """Modules imported by name or started in a string, and steps below the checkout: `CHECKOUT / "a" / "b"`."""
    tree = ast.parse(text)
    below = {id(node.left) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from started_modules(node.value)
            if DOTTED.fullmatch(node.value) and not _resolves(node.value):
                yield node.value
        elif isinstance(node, ast.Tuple | ast.List):
            words = [getattr(one, "value", None) for one in node.elts]
            started = (
                str(after) for word, after in pairwise(words) if word == "-m" and isinstance(after, str)
            )
            yield from (name for name in started if not module_exists(name) or not _is_known(name))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == "import_module" and not module_exists(str(node.args[0].value)):
                yield str(node.args[0].value)
        elif isinstance(node, ast.BinOp) and id(node) not in below:
            yield from missing_paths(filter(None, ["/".join(_steps_below_checkout(node))]))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Tuple):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(str(getattr(target, "id", "")).endswith("_FOLDERS") for target in targets):
                yield from missing_paths(_words(node.value))


def _resolves(name: str) -> bool:
    """A module, or a name that a module defines."""
    module, _, attribute = name.rpartition(".")
    return module_exists(name) or _defines(module, attribute)


def _words(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


MADE_IN_THE_CHECKOUT = {".venv", ".venv-models", "environments", "infra/binaries", "build"}


def _steps_below_checkout(node: ast.expr) -> list[str]:
    """Literal steps, as far as they are literal; empty where the path does not begin at the checkout."""
    steps: list[str] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        literal = isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)
        steps = [str(node.right.value), *steps] if literal and isinstance(node.right, ast.Constant) else []
        node = node.left
    path = "/".join(steps)
    made = any(path == one or path.startswith(f"{one}/") for one in MADE_IN_THE_CHECKOUT)
    return steps if isinstance(node, ast.Name) and node.id == "CHECKOUT" and not made else []


READERS: dict[str, Reader] = {
    ".ci/run": ci_paths,
    ".dockerignore": docker_ignored,
    "Makefile": started_modules,
    "compose.yaml": compose_names,
    "pyproject.toml": project_names,
    "infra/docker/*.Dockerfile": dockerfile_names,
    "infra/kubernetes/**/*.tpl": started_modules,
    "infra/kubernetes/**/*.yaml": started_modules,
    "operations/**/*.sh": started_modules,
    **{f"{folder}/**/*.py": code_names for folder in (*CODE, "benchmarks", "infra")},
}


@pytest.mark.parametrize("pattern", READERS)
def test_names_exist(pattern: str) -> None:
    files = [path for path in CHECKOUT.glob(pattern) if path.is_file()]
    wrong = {str(path.relative_to(CHECKOUT)): list(READERS[pattern](path.read_text())) for path in files}
    assert files and {file: names for file, names in wrong.items() if names} == {}


PLANTED = [
    (".ci/run", "DEPLOYED=(compose.yaml infra)", "infra)", "nfra)"),
    (".dockerignore", "!console", "!console", "!consol"),
    ("Makefile", "\t.venv/bin/python -m operations.setup.tests", "setup.tests", "setup.testz"),
    ("Makefile", "\t.venv/bin/python -m sandbox", "sandbox", "sandbocks"),
    ("compose.yaml", "      - ./infra/docker:/x:ro", "./infra/docker", "./infra/dockers"),
    ("compose.yaml", "    volumes: [./policies:/policies:ro]", "./policies", "./policiez"),
    ("compose.yaml", 'command: ["python", "-m", "sandbox"]', '"sandbox"', '"sandbocks"'),
    ("pyproject.toml", '[project.scripts]\nx = "entrypoints.cli.main:main"', "cli.main", "cli.man"),
    ("pyproject.toml", '[project.scripts]\nx = "entrypoints.cli.main:main"', ":main", ":mian"),
    ("pyproject.toml", '[tool.setuptools]\npackages = ["console"]', "console", "consol"),
    ("pyproject.toml", '[tool.setuptools.package-data]\nportico = ["texts/*.toml"]', "texts", "textz"),
    ("pyproject.toml", '[tool.ruff.lint.per-file-ignores]\n"infra/docker/*" = []', "docker", "dockers"),
    ("pyproject.toml", '[tool.importlinter]\nroot_packages = ["console"]', "console", "consol"),
    (
        "pyproject.toml",
        '[[tool.importlinter.contracts]]\nlayers = ["entrypoints.cli", "portico"]',
        "entrypoints.cli",
        "entrypoints.clii",
    ),
    (
        "pyproject.toml",
        '[[tool.importlinter.contracts]]\ncontainers = ["portico"]\nlayers = ["llm | tools"]',
        "| tools",
        "| toolz",
    ),
    (
        "pyproject.toml",
        '[[tool.importlinter.contracts]]\nforbidden_modules = ["portico.settings", "os"]',
        "portico.settings",
        "portico.settingz",
    ),
    ("pyproject.toml", '[tool.deptry]\nextend_exclude = ["^benchmarks/"]', "benchmarks", "benchmarkz"),
    ("infra/docker/*.Dockerfile", "COPY --chown=1:1 console console", "1 console", "1 consol"),
    ("infra/docker/*.Dockerfile", "COPY LICENSE \\\n  requirements.lock ./", "LICENSE", "LICENCE"),
    ("infra/docker/*.Dockerfile", 'CMD ["python3", "-m", "sandbox", "--host"]', '"sandbox"', '"sandbocks"'),
    (
        "infra/docker/*.Dockerfile",
        r"RUN printf 'import sys\nfrom entrypoints.cli.main import main\n' > x",
        "import main",
        "import mian",
    ),
    ("infra/docker/*.Dockerfile", "RUN env/bin/python -c 'import portico.tools'", "tools", "toolz"),
    ("infra/kubernetes/**/*.tpl", '{{ list "python" "-m" "sandbox" }}', '"sandbox"', '"sandbocks"'),
    ("infra/kubernetes/**/*.yaml", "- python\n  - -m\n  - entrypoints.serve.probe", ".probe", ".prob"),
    ("operations/**/*.sh", 'exec .venv/bin/python -m operations.setup "$@"', "setup", "setupp"),
    ("portico/**/*.py", 'X = f"{there}/python -m entrypoints.serve.api"', "serve.api", "serve.apy"),
    ("portico/**/*.py", 'X = f"{program} -m entrypoints.serve.api"', "serve.api", "serve.apy"),
    ("portico/**/*.py", 'X = (program, "-m", "sandbox", *rest)', '"sandbox"', '"sandbocks"'),
    ("portico/**/*.py", 'CHECKER = "triton_models.llm.check"', "llm.check", "llm.chek"),
    ("portico/**/*.py", 'import_module("portico.tools")', "tools", "toolz"),
    ("portico/**/*.py", 'X = CHECKOUT / "operations" / "setup" / name', "setup", "setupp"),
    ("portico/**/*.py", 'MYPY_FOLDERS = (*("console", "infra/docker"),)', "console", "consol"),
]


@pytest.mark.parametrize(("pattern", "text", "right", "wrong"), PLANTED)
def test_a_wrong_name_is_reported(pattern: str, text: str, right: str, wrong: str) -> None:
    reader = READERS[pattern]
    assert list(reader(text)) == []
    assert len(set(reader(text.replace(right, wrong)))) == 1
