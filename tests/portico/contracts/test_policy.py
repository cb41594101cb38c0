"""The one shape of the input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from portico.contracts.messages import Actor, ConversationRef
from portico.contracts.policy import (
    InboundAction,
    ModelAction,
    PolicyContext,
    PolicyInput,
    ToolAction,
    egress_action,
    input_digest,
    params_hash,
)

CONVERSATION = ConversationRef(id="c1", channel="telegram", account="default", chat="secret-chat")


def test_a_locality_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        ModelAction(route="main", locality="elsewhere")


def test_the_input_has_the_five_groups_and_no_platform_address() -> None:
    whole = PolicyInput.about(
        InboundAction(kind="text"),
        actor=Actor(id="p1", role="guest"),
        conversation=CONVERSATION,
        group=True,
        context=PolicyContext.at(0.0, local_only=True),
    ).model_dump(mode="json")
    assert whole == {
        "actor": {"id": "p1", "role": "guest", "paired": False},
        "channel": {"name": "telegram", "account": "default", "group": True},
        "conversation": {"id": "c1", "data_class": "local"},
        "action": {"kind": "text", "admit": "paired", "addressed": True},
        "context": {"now": "1970-01-01T00:00:00Z", "local_only": True, "cost_today": 0.0},
    }


def test_a_delivery_names_its_target_by_id() -> None:
    assert egress_action("reply", CONVERSATION, admit="anyone").model_dump() == {
        "kind": "reply",
        "channel": "telegram",
        "account": "default",
        "conversation": "c1",
        "admit": "anyone",
    }


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values))
def test_the_hash_tells_parameters_and_not_their_order(parameters: dict[str, JsonValue]) -> None:
    reordered = dict(reversed(list(parameters.items())))
    assert params_hash("t", parameters) == params_hash("t", reordered)
    assert params_hash("t", parameters) != params_hash("u", parameters)
    assert params_hash("t", parameters) != params_hash("t", {**parameters, "one more": "x", "\0": 1})


SIMILAR: tuple[JsonValue, ...] = (1, "1", True, None, [1], {"1": 1})


def test_the_hash_tells_types_apart() -> None:
    assert len({params_hash("t", {"a": value}) for value in SIMILAR}) == 6


def test_an_approval_is_part_of_the_input_where_there_is_one() -> None:
    asked = PolicyInput.about(
        ToolAction(tool="note", effects="write", risk="low", params_hash="0f", content_hash="c1"),
        actor=Actor(id="p1", role="member"),
        conversation=CONVERSATION,
        group=False,
        context=PolicyContext.at(0.0, local_only=True),
    )
    approved = asked.with_approval(Actor(id="p9", role="owner"), "0f", "c1")
    by = {"id": "p9", "role": "owner", "params_hash": "0f", "content_hash": "c1"}
    assert "approved_by" not in asked.model_dump(mode="json")["context"]
    assert approved.model_dump(mode="json")["context"]["approved_by"] == by
    assert input_digest(asked) != input_digest(approved)
