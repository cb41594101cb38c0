"""Functions with packages of their own: installed in the background, or reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from entrypoints.serve.tool_sources import installer
from portico.tool import ToolFailed, ToolSpec
from portico.tools.functions.environments import BUILDING
from tests.portico.tools.functions.watched import HELLO, Watched, watched, write

OWN = "# /// script\n# requires-python = '>=3.11'\n# dependencies = {wanted}\n# ///\n"


async def test_an_environment_of_its_own_is_made_in_the_background(tmp_path: Path) -> None:
    if installer().uv is None:
        pytest.skip("no uv here")
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        "[project]\nname = 'words'\nversion = '1'\n[build-system]\nrequires = []\n"
        "build-backend = 'backend'\nbackend-path = ['.']\n"
    )
    shutil.copy(Path(__file__).with_name("backend.py.txt"), package / "backend.py")
    text = OWN.format(wanted=[f"words @ file://{package}"]) + "import words\n"
    write(tmp_path, "hello.py", text + HELLO.format(name="hello", word="x").replace('"x"', "words.WORD"))
    async with watched(tmp_path, uv=installer()) as tools:
        outlined = await tools.until(lambda: tools.catalog.spec("hello"))
        assert (outlined.unavailable, outlined.effects, outlined.description) == (BUILDING, "none", "Says x.")
        spec = await tools.until(lambda: _available(tools, "hello"), within_s=60)
        assert await tools.run(spec) == "from a package"


async def test_packages_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    if installer().uv is None:
        pytest.skip("no uv here")
    text = OWN.format(wanted=[f"nowhere @ file://{tmp_path}/nowhere"]) + HELLO.format(name="hello", word="x")
    write(tmp_path, "hello.py", text)
    async with watched(tmp_path, uv=installer()) as tools:
        await tools.until(lambda: "could not be installed" in _unavailable(tools), within_s=30)
        spec = tools.catalog.spec("hello")
        assert spec is not None
        with pytest.raises(ToolFailed, match="could not be installed"):
            await tools.run(spec)


async def test_without_uv_one_line_says_so(tmp_path: Path) -> None:
    write(tmp_path, "hello.py", OWN.format(wanted=["words"]) + HELLO.format(name="hello", word="x"))
    async with watched(tmp_path) as tools:
        await tools.until(lambda: "uv is not there" in _unavailable(tools))


async def test_a_lock_is_installed_by_its_hashes(tmp_path: Path) -> None:
    if installer().uv is None:
        pytest.skip("no uv here")
    write(tmp_path, "hello.py", OWN.format(wanted=["words"]) + HELLO.format(name="hello", word="x"))
    write(tmp_path, "hello.lock", "words @ file:///nowhere/words-1-py3-none-any.whl\n")
    async with watched(tmp_path, uv=installer()) as tools:
        await tools.until(lambda: "could not be installed" in _unavailable(tools), within_s=30)
        assert "hash" in _unavailable(tools).lower()


def _available(tools: Watched, name: str) -> ToolSpec | None:
    spec = tools.catalog.spec(name)
    return spec if spec is not None and not spec.unavailable else None


def _unavailable(tools: Watched) -> str:
    spec = tools.catalog.spec("hello")
    return spec.unavailable if spec else ""
