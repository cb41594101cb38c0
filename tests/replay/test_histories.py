"""The replay gate: what ran before this change would still do the same."""

from __future__ import annotations

import base64
import json

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from entrypoints.serve.worker import WORKFLOWS
from tests.replay import fingerprints
from tests.replay.plain import HISTORIES, converter, saved

EXPECTED = {
    "text_turn", "tool_turn", "tool_run", "model_turn", "pairing", "repeat_after_termination",
    "dead_letter", "part_away", "tool_step_failed", "tool_run_step_failed", "delivery_refused",
    "stop", "tool_run_stopped", "renewal_before", "renewal_after",
    "tool_commands", "model_tool_turn", "approval_before", "approval_after", "tool_run_approved",
    "tool_run_denied", "model_turn_0_1_0", "stop_0_1_0", "tool_turn_0_1_0", "tool_run_0_1_0",
    "renewal_before_0_1_0", "renewal_after_0_1_0", "tool_run_stopped_0_1_0", "tool_run_step_failed_0_1_0",
}  # fmt: skip

EXPLANATION = """
{changed} in workflows/ is not what the saved histories were checked against.

Conversations live for ever: runs that began with the old code go on with the new one, and a run that no longer
gives the commands of its history blocks. So:
1. Run tests/replay/test_histories.py. Where a history does not replay, the change alters what running
   conversations do: keep the old way for them with `if workflow.patched("name-of-the-change"): new else: old`
   and run again. The old way may go when every run that began before it is closed (30 days and a renewal).
2. Record what the new code does, and its fingerprint: python -m tests.replay.record
   (--fingerprints: where nothing that is recorded has changed). Commit both with the change.
   Histories of a release are kept: copy them under a new name before they are written over.
"""


def _replayer() -> Replayer:
    return Replayer(workflows=list(WORKFLOWS), data_converter=converter())


def test_every_kind_of_history_is_there() -> None:
    assert set(saved()) >= EXPECTED


@pytest.mark.parametrize("name", sorted(path.stem for path in HISTORIES.glob("*.json")))
async def test_a_saved_history_replays(name: str) -> None:
    await _replayer().replay_workflow(saved()[name])


async def test_a_history_that_this_code_would_not_write_is_rejected() -> None:
    text = (HISTORIES / "text_turn.json").read_text()
    other = WorkflowHistory.from_json("text_turn", text.replace('"deliver"', '"deliver_twice"'))
    with pytest.raises(NondeterminismError):
        await _replayer().replay_workflow(other)


def test_saved_histories_name_no_machine() -> None:
    for name, history in saved().items():
        content = history.to_json()
        plain = content + "".join(_decoded(json.loads(content)))
        assert "/work/" not in plain, name
        assert "site-packages" not in plain, name
        assert "portico-aes256gcm" not in plain, name


def _decoded(value: object) -> list[str]:
    """Every payload's text."""
    if isinstance(value, dict):
        found = [one for inner in value.values() for one in _decoded(inner)]
        data = value.get("data")
        return [*found, base64.b64decode(data).decode(errors="replace")] if isinstance(data, str) else found
    return [one for inner in value for one in _decoded(inner)] if isinstance(value, list) else []


# --- fingerprints ------------------------------------------------------------------------------------------


def test_workflow_code_is_what_the_histories_were_checked_against() -> None:
    now, before = fingerprints.current(), fingerprints.saved()
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    assert not changed, EXPLANATION.format(changed=", ".join(changed))


def test_a_fingerprint_sees_code_and_not_words() -> None:
    plain = fingerprints.of("def f(x):\n    return x + 1\n")
    assert plain == fingerprints.of(
        '"""Words."""\n\n\ndef f(x):\n    """More."""\n    # why\n    return x + 1\n'
    )
    assert plain != fingerprints.of("def f(x):\n    return x + 2\n")
    assert plain != fingerprints.of("async def f(x):\n    return x + 1\n")
    assert fingerprints.of("def f(x: int = 0): ...") != fingerprints.of("def f(x: int = 1): ...")
