"""What becomes of a model's calls, and that a plan stays small whatever tools return."""

from __future__ import annotations

from portico.contracts.messages import Artifact, Effect, ExecutionError, ExecutionResult, ExecutionStatus
from portico.contracts.steps import Generated
from portico.contracts.tool_steps import ListedTool, OfferAnswer, ToolBounds, ToolRequest, ToolRound
from tests.workflows.test_state import LIMIT_BYTES, conversation, full_of_keys, turn
from workflows import tool_plans
from workflows.state import ConversationState, OpenPlan, ToolPlan

BOUNDS = ToolBounds(rounds=2, calls=2, tokens=1_000, seconds=60)


def request(number: int = 0, *, problem: str = "", **parameters: str) -> ToolRequest:
    return ToolRequest(id=f"call-0-{number}", name="write", parameters=dict(parameters), problem=problem)


def result(output: object, **more: object) -> ExecutionResult:
    given = {
        "invocation_id": "i",
        "tool_name": "write",
        "status": ExecutionStatus.SUCCEEDED,
        "output": output,
    }
    return ExecutionResult.model_validate(given | more)


def listed(name: str, **more: object) -> ListedTool:
    return ListedTool.model_validate({"name": name, "description": "…", **more})


def test_offers_what_may_be_used_or_asked_for_until_a_bound_is_reached() -> None:
    tools = (
        listed("allowed", content_hash="h"),
        listed("asks", effect=Effect.ASK),
        listed("denied", effect=Effect.DENY),
        listed("broken", unavailable="no sandbox"),
    )
    answer = OfferAnswer(tools=tools, bounds=BOUNDS)

    def offered(plan: ToolPlan, *, open_plans: int = 0, now: float = 0) -> list[str]:
        return [one.name for one in tool_plans.offers(answer, plan, open_plans=open_plans, now=now)]

    done = ToolRound(calls=(request(),))
    assert offered(ToolPlan()) == ["allowed", "asks"]
    assert offered(ToolPlan(rounds=(done,), until=60), now=59) == ["allowed", "asks"]
    assert offered(ToolPlan(rounds=(done,), until=60), now=60) == []
    assert offered(ToolPlan(rounds=(done, done), until=60)) == []
    assert offered(ToolPlan(tokens=1_000)) == []
    assert offered(ToolPlan(), open_plans=tool_plans.OPEN_PLANS) == []
    kept = answer.model_copy(update={"to_models": False})
    assert tool_plans.offers(kept, ToolPlan(), open_plans=0, now=0) == ()


def test_tokens_are_counted_also_where_a_server_counts_none() -> None:
    plan = tool_plans.counted(
        ToolPlan(tokens=5), Generated(text="", route="r", input_tokens=10, output_tokens=3)
    )
    assert plan.tokens == 18
    assert tool_plans.counted(ToolPlan(), Generated(text="x" * 400, route="r")).tokens == 100


def test_long_parameters_are_called_whole_and_carried_short() -> None:
    generated = Generated(text="", route="r", calls=(request(text="长" * 9_000),))
    verdict = tool_plans.judged(ToolPlan(), generated, BOUNDS, may_call=True, language="en")
    assert isinstance(verdict, tool_plans.Calls)
    assert len(str(verdict.calls[0].parameters["text"])) == 9_000
    assert len(verdict.plan.model_dump_json()) < 2_000


def grown() -> ToolPlan:
    """Five rounds of four calls, each with long words both ways."""
    plan = ToolPlan()
    for _ in range(5):
        calls = tuple(request(number, text="长" * 9_000, more="长" * 9_000) for number in range(4))
        generated = Generated(text="字" * 50_000, route="r", calls=calls)
        verdict = tool_plans.judged(plan, generated, ToolBounds(), may_call=True, language="en")
        assert isinstance(verdict, tool_plans.Calls)
        plan = verdict.plan
        for call in calls:
            plan = tool_plans.returned(plan, call.id, result("长" * 100_000))
    return plan


def test_a_plan_stays_bounded_whatever_tools_return() -> None:
    plan = grown()
    text = "".join(one.text for done in plan.rounds for one in done.results)
    assert len(text) < tool_plans.PLAN_LENGTH + 20 * tool_plans.OLD_RESULT_LENGTH
    assert plan.rounds[-1].results[-1].text.endswith("characters in all]")
    assert len(plan.rounds[-1].results[-1].text) == tool_plans.RESULT_LENGTH, "the newest is whole"


def test_what_is_carried_stays_small_with_every_plan_open_and_all_keys() -> None:
    going_on = turn("hello", 1).model_copy(update={"plan": grown()})
    state = ConversationState(
        conversation=conversation(),
        queue=(going_on,),
        plans=tuple(
            OpenPlan(turn=going_on, waiting=(f"tool-{number:032x}-0",))
            for number in range(tool_plans.OPEN_PLANS)
        ),
        seen=full_of_keys().pack(),
    )
    small = tool_plans.carried(state)
    assert len(small.model_dump_json().encode()) < LIMIT_BYTES
    first = small.plans[0].turn.plan
    assert first is not None
    assert [call.id for done in first.rounds for call in done.calls] == [
        one.id for done in first.rounds for one in done.results
    ]
    assert "characters in all]" in first.rounds[0].results[0].text, "what was cut says so"


def test_a_small_plan_is_carried_as_it_is() -> None:
    done = ToolRound(text="Hm.", calls=(request(text="short"),))
    plan = tool_plans.returned(ToolPlan(rounds=(done,)), "call-0-0", result("a result"))
    going_on = turn("hello", 1).model_copy(update={"plan": plan})
    state = ConversationState(conversation=conversation(), plans=(OpenPlan(turn=going_on, waiting=("t",)),))
    assert tool_plans.carried(state) == state


def test_results_stand_in_the_order_of_their_calls() -> None:
    generated = Generated(text="", route="r", calls=(request(0), request(1, problem="bad")))
    verdict = tool_plans.judged(ToolPlan(), generated, BOUNDS, may_call=True, language="en")
    assert isinstance(verdict, tool_plans.Calls)
    plan = tool_plans.returned(verdict.plan, "call-0-0", result("first"))
    assert [one.text for one in plan.rounds[0].results] == ["first", "This call was not made: bad."]


def test_how_a_run_ended_is_said_to_the_model() -> None:
    error = ExecutionError(code="denied", message="nobody agreed")
    ends = {
        ExecutionStatus.DENIED: "[denied, do not try it again] denied: nobody agreed",
        ExecutionStatus.FAILED: "[failed] denied: nobody agreed",
        ExecutionStatus.CANCELLED: "[stopped by a person] denied: nobody agreed",
    }
    for status, words in ends.items():
        assert tool_plans.result_text(result(None, status=status, error=error)) == words
    unknown = tool_plans.result_text(result(None, status=ExecutionStatus.UNKNOWN))
    assert "nobody knows whether it took effect" in unknown
    chart = Artifact(name="chart.png", media_type="image/png", size_bytes=1, url="/x")
    shown = tool_plans.result_text(result({"text": "Here."}, artifacts=(chart,)))
    assert shown == "Here.\n[files, shown to the person: chart.png (image/png)]"


def test_without_permission_to_call_what_it_wrote_beside_is_the_answer() -> None:
    generated = Generated(text="So be it.", route="r", calls=(request(),))
    assert tool_plans.judged(ToolPlan(), generated, BOUNDS, may_call=False, language="en") == tool_plans.Said(
        "So be it."
    )
