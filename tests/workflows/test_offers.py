"""Which tools a model is told of, asked of the real policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.authorize import AuthorizeSteps
from activities.offer_tools import OfferSteps
from portico.contracts.messages import Actor, Effect
from portico.contracts.tool_steps import ListedTool, OfferQuestion
from portico.settings.tools import ToolSettings
from portico.tool import tool
from tests.inline_tools import inline_catalog
from tests.workflows.harness import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


def fetch(url: str) -> str:
    """Fetch a page. And more words."""
    return url


def look(path: str) -> str:
    """Look at a file."""
    return path


def wipe(path: str) -> str:
    """Wipe a disk."""
    return path


async def listed(world: World, role: str, **tools: Any) -> dict[str, ListedTool]:
    catalog = inline_catalog(
        tool(effects="read", risk="low", network=True)(fetch),
        tool(effects="read", risk="low")(look),
        tool(effects="write", risk="high")(wipe),
    )
    settings = world.ground.settings.model_copy(update={"tools": ToolSettings(**tools)})
    deps = replace(world.deps, settings=settings, catalog=catalog)
    steps = OfferSteps(deps, AuthorizeSteps(deps, tool_spec=catalog.spec).about_tool)
    question = OfferQuestion(
        conversation=world.ref_of(1),
        actor=Actor(id="person-1", role=role, paired=True),
        decision_id="d",
    )
    answer = await ActivityEnvironment().run(steps.offer_tools, question)
    again = await ActivityEnvironment().run(steps.offer_tools, question)
    assert again == answer
    return {one.name: one for one in answer.tools}


async def test_policy_says_what_is_offered_to_whom(world: World) -> None:
    owner, member, guest = [await listed(world, role) for role in ("owner", "member", "guest")]
    assert [owner["look"].effect, owner["wipe"].effect] == [Effect.ALLOW, Effect.ASK]
    assert [member["look"].effect, member["wipe"].effect] == [Effect.ALLOW, Effect.DENY]
    assert "owner and admins only" in member["wipe"].reason
    assert guest["look"].effect is Effect.DENY
    assert not guest["look"].usable
    assert owner["fetch"].description == "Fetch a page"


async def test_a_tool_that_can_reach_nothing_is_not_offered(world: World) -> None:
    assert "[tools] hosts" in (await listed(world, "owner"))["fetch"].unavailable
    assert not (await listed(world, "owner"))["fetch"].usable
    assert (await listed(world, "owner", hosts=("a.example",)))["fetch"].usable


async def test_the_settings_keep_tools_from_models_but_not_from_people(world: World) -> None:
    found = await listed(world, "owner", offered=("lo*", "fetch"))
    assert [found[name].to_models for name in ("fetch", "look", "wipe")] == [True, True, False]
    assert found["wipe"].usable
