"""What was stored is read for ever: saved payloads of each release, and those of releases to come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from portico.temporal.codec import SharedPayloadConverter
from tests.replay.contracts import (
    PAYLOADS,
    RELEASE,
    all_contracts,
    choices,
    only_required,
    sample,
    with_fields_added,
    written,
)

SAVED = sorted(path for path in PAYLOADS.glob("*/*.json") if path.stem != "choices")
CONTRACTS = sorted(all_contracts())


def decoded(content: Any, model: type[BaseModel]) -> Any:
    """Through the converter of the Temporal client, as a worker reads it."""
    convert = SharedPayloadConverter()
    return convert.from_payloads(convert.to_payloads([content]), [model])[0]


def contains(now: Any, before: Any) -> bool:
    """Everything that was stored is still there, with its value."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(key in now and contains(now[key], value) for key, value in before.items())
    if isinstance(before, list) and isinstance(now, list):
        return len(now) == len(before) and all(map(contains, now, before))
    return bool(now == before)


def test_a_contract_that_loses_a_field_is_noticed() -> None:
    assert not contains({"a": 1}, {"a": 1, "b": 2})
    assert not contains({"a": [1, 2]}, {"a": [1, 3]})
    with pytest.raises(ValidationError):
        decoded({}, all_contracts()["Message"])


def test_every_contract_has_a_saved_payload_of_this_release() -> None:
    assert {path.stem for path in SAVED if path.parent.name == RELEASE} == set(CONTRACTS), (
        "python -m tests.replay.record saves them"
    )


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_payload_of_every_release_is_read_whole(path: Path) -> None:
    before = json.loads(path.read_text())
    assert contains(written(decoded(before, all_contracts()[path.stem])), before)


@pytest.mark.parametrize("name", CONTRACTS)
def test_fields_that_a_newer_release_added_are_passed_over(name: str) -> None:
    whole = sample(all_contracts()[name])
    assert decoded(with_fields_added(whole), type(whole)) == whole


@pytest.mark.parametrize("name", CONTRACTS)
def test_fields_that_an_older_release_did_not_write_have_a_default(name: str) -> None:
    whole = sample(all_contracts()[name])
    decoded(only_required(whole), type(whole))


def test_no_fixed_set_of_values_is_narrowed() -> None:
    now = choices()
    for path in PAYLOADS.glob("*/choices.json"):
        for field, values in json.loads(path.read_text()).items():
            assert set(values) <= set(now.get(field, ())), f"{field} once held more: {path.parent.name}"
