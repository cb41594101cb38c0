"""Fixtures that every folder of tests may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import INNER, RunningStack
from tests.tiny_model import write_tiny_model

MakeStack = Callable[..., RunningStack]

NEEDS = ("own_stack", "stack", "part", "nothing")
"""Markers, the first that fits; `nothing` where no other does."""
SHARED = {"stack", "inner_stack", "gateway", "shared_gateway"}
STACKS = {"RunningStack", "EdgeStack", "Gateway", "Doors", "open_world", "World"}
PARTS = {
    *(
        "s3_server",
        "temporal_server",
        "running_postgres",
        "running_opa",
        "Service",
        "Popen",
        "subprocess",
        "spawn",
    ),
    *("ActivityEnvironment", "WorkflowEnvironment", "Bench", "Tools", "sync_playwright", "running_docker"),
}
"""Names that a fixture or test uses which starts such a thing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not any(item.get_closest_marker(name) for name in NEEDS):
            item.add_marker(_need_of(item))


def _need_of(item: pytest.Function) -> str:
    fixtures = item._fixtureinfo.name2fixturedefs
    functions = [one.func for defined in fixtures.values() for one in defined] + [item.obj]
    used = {name for function in functions for name in _names_in(function)}
    if "make_stack" in fixtures:
        return "own_stack"
    if SHARED & set(fixtures) or STACKS & used:
        return "stack"
    return "part" if PARTS & used else "nothing"


def _names_in(function: Any) -> Iterator[str]:
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    waiting = [code] if code else []
    while waiting:
        one = waiting.pop()
        yield from one.co_names
        waiting += [constant for constant in one.co_consts if isinstance(constant, CodeType)]


# No test fails because a machine is slow.
settings.register_profile("portico", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("portico")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The whole embedded stack, started once for all tests; leave it as you found it."""
    with RunningStack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def inner_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Temporal, OPA, S3 and Triton without our own processes, started once for all tests."""
    with RunningStack(tmp_path_factory.mktemp("inner"), only=INNER) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random language model, as a hub has them. Nobody changes it."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that writes until its context of 16,384 tokens is full."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "endless", "--context", "16384", "--endless")


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Make stacks of the test's own: `make_stack(only=("opa",), settings=TOML, start=True)`."""
    made: list[RunningStack] = []

    def make(
        *, settings: str = "", only: tuple[str, ...] = (), start: bool = True, sandbox: bool = False
    ) -> RunningStack:
        running = RunningStack(tmp_path / f"home{len(made)}", settings=settings, only=only, sandbox=sandbox)
        made.append(running)
        if start:
            running.start()
        return running

    yield make
    for running in made:
        running.stop()
