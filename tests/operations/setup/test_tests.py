"""How `make test` runs tests, on a small project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.setup import tests as runner

PASSES = "def test_passes(): pass\n"
FLICKERS = """
from pathlib import Path

def test_flickers():
    seen = Path(__file__).with_name("seen")
    known = seen.exists()
    seen.touch()
    assert known
"""


def project(root: Path, *, shared: str = PASSES, alone: str = PASSES) -> int:
    (root / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\ntestpaths = ['tests']\nmarkers = ['alone', 'long', 'deploy']\n"
    )
    for folder, text in (("shared", shared), ("alone", alone)):
        place = root / "tests" / folder
        place.mkdir(parents=True)
        mark = "import pytest\npytestmark = pytest.mark.alone\n" if folder == "alone" else ""
        (place / f"test_{folder}.py").write_text(mark + text)
    return runner.run(root)


def test_what_passes_is_well(tmp_path: Path) -> None:
    assert project(tmp_path) == 0


@pytest.mark.parametrize("where", ["shared", "alone"])
def test_what_flickers_is_run_again_and_named(
    tmp_path: Path, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project(tmp_path, **{where: FLICKERS}) == 0
    said = capfd.readouterr().out
    assert f"passed only when run again:\n          tests/{where}/test_{where}.py::test_flickers" in said


@pytest.mark.parametrize(
    "wrong",
    [
        "def test_fails(): assert False\n",
        "def broken(:\n",
        "import pytest\npytest.exit('over', returncode=3)\n",
        f"import pytest\n@pytest.mark.parametrize('n', range({runner.MOST_AGAIN + 1}))\n"
        "def test_many(n, tmp_path_factory):\n    from pathlib import Path\n"
        "    seen = Path(__file__).with_name(f'seen{n}')\n    known = seen.exists()\n    seen.touch()\n"
        "    assert known\n",
    ],
    ids=["fails", "no Python", "broken off", "many"],
)
def test_what_is_wrong_fails(tmp_path: Path, wrong: str) -> None:
    assert project(tmp_path, alone=wrong) != 0


def test_a_flickering_one_hides_no_failing_one(tmp_path: Path) -> None:
    assert project(tmp_path, shared=FLICKERS, alone="def test_fails(): assert False\n") == 1


def test_a_hung_test_is_reported_with_its_stack(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hangs = (
        "import time\n\ndef test_hangs():\n    wait_for_ever()\n\ndef wait_for_ever():\n    time.sleep(600)\n"
    )
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntimeout = 1\n")
    (tmp_path / "test_hangs.py").write_text(hangs)
    assert runner._pytest(tmp_path, "-n", "2") == 1
    printed = capfd.readouterr().out
    assert "Timeout" in printed and "wait_for_ever" in printed and "time.sleep(600)" in printed
