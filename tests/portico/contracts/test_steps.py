"""The contracts of the steps, held against the activities that take and give them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel, ValidationError

from activities.authorize import AuthorizeSteps
from activities.callback import CallbackSteps
from activities.collect import CollectSteps
from activities.dead_letters import DeadLetterSteps
from activities.deliver import DeliverSteps
from activities.generate import GenerateSteps
from activities.normalize import NormalizeSteps
from activities.offer_tools import OfferSteps
from activities.pairing import PairingSteps
from activities.remember import RememberSteps
from activities.retrieve import RetrieveSteps
from activities.tools import STEP_NAMES, ToolSteps
from activities.understand import UnderstandSteps
from entrypoints.serve import worker
from portico.contracts import steps
from portico.contracts.messages import ExecutionResult
from tests.replay.contracts import all_contracts, sample

FAMILIES = (
    AuthorizeSteps, CallbackSteps, CollectSteps, DeadLetterSteps, DeliverSteps, GenerateSteps, NormalizeSteps,
    OfferSteps, PairingSteps, RememberSteps, RetrieveSteps, ToolSteps, UnderstandSteps,
)  # fmt: skip
OURS = (steps.__name__, "portico.contracts.messages", "portico.contracts.tool_steps")
CHECKOUT = Path(__file__).parents[3]


def _activities() -> dict[str, Any]:
    found = {}
    for family in FAMILIES:
        for _, function in inspect.getmembers(family, inspect.isfunction):
            definition = getattr(function, "__temporal_activity_definition", None)
            if definition is not None and definition.name:
                found[definition.name] = function
    return found


def test_the_worker_runs_every_activity_that_is_declared() -> None:
    declared = {
        name
        for path in (CHECKOUT / "activities").glob("*.py")
        for name in re.findall(r'@activity\.defn\(name="(\w+)"\)', path.read_text())
    }
    listed = inspect.getsource(worker.activities)
    assert declared == set(_activities())
    assert all(f".{function.__name__}," in listed for function in _activities().values())
    assert "tools.execute_named," in listed
    assert declared == STEP_NAMES, "a tool of such a name would never be reached"


@pytest.mark.parametrize("name", sorted(_activities()))
def test_an_activity_takes_one_contract_and_gives_one(name: str) -> None:
    hints = get_type_hints(_activities()[name])
    answer = hints.pop("return")
    assert len(hints) == 1
    (given,) = hints.values()
    assert given.__module__ in OURS
    assert answer is ExecutionResult or answer.__module__ in OURS


@pytest.mark.parametrize("name", sorted(all_contracts()))
def test_a_contract_cannot_be_changed(name: str) -> None:
    whole = sample(all_contracts()[name])
    field = next(iter(type(whole).model_fields), "")
    if not field:
        return
    with pytest.raises(ValidationError, match="frozen"):
        setattr(whole, field, None)


def test_every_contract_of_the_steps_is_one_of_ours() -> None:
    for name, one in inspect.getmembers(steps, inspect.isclass):
        if one.__module__ == steps.__name__:
            assert issubclass(one, BaseModel), name
            assert one.model_config.get("extra") == "ignore", f"{name} would refuse a newer release's field"
