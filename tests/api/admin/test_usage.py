"""Which route writes, by the word of policy: data class, price, budget, failure; and what it cost.

One whole stack outside of local mode, with three scripted model servers: at home, a cloud, a cloud with a budget.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import EdgeStack
from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI, Said, status
from tests.fakes.telegram import FakeTelegram
from tests.support import RunningStack

FREE_TEXT = "Write me a poem about doors, please"
SETTINGS = """
local_only = false
[models]
detect = false
[llm.routes.cloud]
kind = "openai"
base_url = "{cloud}"
model = "tiny"
locality = "cloud"
input_cost_per_mtok = 1000000
output_cost_per_mtok = 2000000
[llm.routes.home]
kind = "openai"
base_url = "{home}"
model = "tiny"
"""
SECOND = """
[llm.routes.second]
kind = "openai"
base_url = "{url}"
model = "tiny"
"""
OWN_RULES = """
package portico.user.model

deny contains "customers never use the cloud" if {
	input.action.locality == "cloud"
	input.actor.role == "customer"
}

rank contains 1 if {
	input.action.locality == "cloud"
	input.conversation.data_class == "shareable"
}
"""


@dataclass
class Hybrid:
    edge: EdgeStack
    home: FakeOpenAI
    cloud: FakeOpenAI

    def ask(self, client: httpx2.Client, conversation: str, text: str = FREE_TEXT) -> str:
        body = {"id": uuid.uuid4().hex, "text": text, "conversation": conversation}
        answer = client.post("/v1/messages", params={"wait_s": 30}, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["reply"]["parts"][0]["text"])


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hybrid]:
    with ExitStack() as outside:
        home, cloud = outside.enter_context(FakeOpenAI()), outside.enter_context(FakeOpenAI())
        telegram, receiver = outside.enter_context(FakeTelegram()), outside.enter_context(FakeReceiver())
        settings = SETTINGS.format(home=home.base_url, cloud=cloud.base_url)
        running = RunningStack(tmp_path_factory.mktemp("hybrid"), settings=settings)
        running.home.make()
        (running.home.policies / "models.rego").write_text(OWN_RULES)
        try:
            running.start()
            yield Hybrid(EdgeStack(running, telegram, receiver), home, cloud)
        finally:
            running.stop()


@pytest.fixture
def owner(hybrid: Hybrid) -> Iterator[httpx2.Client]:
    with hybrid.edge.person() as client:
        yield client


@pytest.fixture
def settings_file(hybrid: Hybrid) -> Iterator[Path]:
    path = hybrid.edge.running.home.settings
    before = path.read_text()
    yield path
    path.write_text(before)


def until(condition: Callable[[], bool], *, timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)


def release(client: httpx2.Client, conversation: str, data_class: str = "shareable") -> httpx2.Response:
    return client.post(f"/v1/conversations/{conversation}/data-class", json={"data_class": data_class})


# --- data class --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["admin", "member", "guest", "customer", "service", "auditor"])
def test_only_the_owner_releases_a_conversation(hybrid: Hybrid, role: str) -> None:
    with hybrid.edge.person(hybrid.edge.key(role)) as person:
        assert release(person, "main").status_code == 403
        assert (release(person, "main", "local").status_code == 200) is (role == "admin")


def test_what_is_no_class_or_no_conversation_is_refused(owner: httpx2.Client) -> None:
    assert release(owner, "main", "public").status_code == 422
    assert release(owner, "a b").status_code == 400


def test_a_local_conversation_never_reaches_the_cloud_even_if_home_is_away(
    hybrid: Hybrid, owner: httpx2.Client
) -> None:
    asked = len(hybrid.cloud.asked)
    hybrid.home.script("chat", status(500), times=2)
    hybrid.home.say("At home.")
    assert hybrid.ask(owner, "private") == "At home."
    assert len(hybrid.cloud.asked) == asked


def test_a_released_conversation_is_written_by_the_cloud_until_it_is_taken_back(
    hybrid: Hybrid, owner: httpx2.Client
) -> None:
    released = release(owner, "open")
    assert released.status_code == 200
    assert released.json()["conversation"].startswith("conversation-")
    hybrid.cloud.say("From afar.")
    assert hybrid.ask(owner, "open") == "From afar."
    # Another conversation of the same person stays at home.
    hybrid.home.say("At home.")
    assert hybrid.ask(owner, "closed") == "At home."
    assert release(owner, "open", "local").status_code == 200
    hybrid.home.say("At home again.")
    assert hybrid.ask(owner, "open") == "At home again."


def test_the_cloud_is_closed_when_its_budget_is_used_up_and_costs_are_shown(
    hybrid: Hybrid, owner: httpx2.Client, settings_file: Path
) -> None:
    def cloud() -> dict[str, Any]:
        rows = owner.get("/v1/models/usage").json()["rows"]
        return next((row for row in rows if row["route"] == "cloud"), {"cost": 0, "estimated": 0})

    before = cloud()
    budget = f"cost_per_day = {before['cost'] + 20}\n"
    settings_file.write_text(
        settings_file.read_text().replace("[llm.routes.home]", f"{budget}[llm.routes.home]")
    )
    assert release(owner, "costly").status_code == 200
    hybrid.cloud.say("one", "two", "three")  # the server counts 1 in, 3 out
    assert hybrid.ask(owner, "costly") == "onetwothree"
    assert cloud()["cost"] - before["cost"] == pytest.approx(1 + 3 * 2)
    hybrid.cloud.answer(Said(("x" * 40,) * 2, usage=False))  # reckoned: 20 out
    hybrid.ask(owner, "costly")
    assert cloud()["cost"] > before["cost"] + 20
    assert cloud()["estimated"] == before["estimated"] + 1
    asked = len(hybrid.cloud.asked)
    hybrid.home.say("Home is free.")
    assert hybrid.ask(owner, "costly") == "Home is free."
    assert len(hybrid.cloud.asked) == asked
    told = owner.get("/v1/models/usage").json()
    assert told["currency"] == "EUR"
    assert told["cost_today"] == pytest.approx(sum(row["cost"] for row in told["rows"]))


def test_somebody_elses_conversation_is_released_by_its_id_and_own_rules_still_narrow(
    hybrid: Hybrid, owner: httpx2.Client
) -> None:
    for role, writer in (("member", hybrid.cloud), ("customer", hybrid.home)):
        with hybrid.edge.person(hybrid.edge.key(role, "released")) as person:
            hybrid.home.say("Before.")
            body = {"id": uuid.uuid4().hex, "text": FREE_TEXT}
            told = person.post("/v1/messages", params={"wait_s": 30}, json=body).json()
            assert told["reply"]["parts"][0]["text"] == "Before."
            conversation = told["history_url"].rpartition("/")[2]
            assert release(owner, conversation).json()["conversation"] == conversation
            writer.say(f"For a {role}.")
            assert hybrid.ask(person, "main") == f"For a {role}."


def test_people_see_their_own_costs_only(hybrid: Hybrid) -> None:
    with hybrid.edge.person(hybrid.edge.key("member", "of their own")) as member:
        assert member.get("/v1/models/usage").json()["rows"] == []
        hybrid.home.say("Yours.")
        hybrid.ask(member, "mine")
        (row,) = member.get("/v1/models/usage").json()["rows"]
        assert (row["route"], row["answers"]) == ("home", 1)
        assert member.get("/v1/models/usage", params={"days": 0}).status_code == 422
    with hybrid.edge.stranger() as stranger:
        assert stranger.get("/v1/models/usage").status_code == 401


def test_the_commands_release_a_conversation_and_show_what_it_cost(
    hybrid: Hybrid, owner: httpx2.Client
) -> None:
    running = hybrid.edge.running
    assert "is shareable" in running.run("models", "release", "by-command").stdout
    hybrid.cloud.say("Released.")
    assert hybrid.ask(owner, "by-command") == "Released."
    assert "is local" in running.run("models", "release", "by-command", "--take-back").stdout
    hybrid.home.say("Taken back.")
    assert hybrid.ask(owner, "by-command") == "Taken back."
    shown = running.run("models", "usage")
    assert shown.returncode == 0, shown.stderr
    assert "EUR" in shown.stdout
    assert "  home " in shown.stdout
    refused = running.run("models", "release", "no such name")
    assert refused.returncode == 1
    assert "1 to 64 letters" in refused.stderr + refused.stdout


# --- health ------------------------------------------------------------------------------------------


def test_health_of_routes_is_told_without_names_to_strangers(hybrid: Hybrid, owner: httpx2.Client) -> None:
    hybrid.home.say("Fine.")
    hybrid.ask(owner, "health")
    states = {route["name"]: route["state"] for route in owner.get("/v1/models/routes").json()["routes"]}
    assert states["home"] == "ok"
    with hybrid.edge.stranger() as stranger:
        ready = stranger.get("/readyz").json()
    assert ready["status"] == "ready"
    assert set(ready["models"]) == {"ok", "failing"}
    metrics = owner.get("/metrics").text
    assert 'portico_model_route_failing{route="home"} 0.0' in metrics
    assert 'portico_model_tokens_today{direction="output",route="home"}' in metrics


def test_a_failing_route_is_shown_with_why(hybrid: Hybrid, owner: httpx2.Client) -> None:
    def state() -> dict[str, Any]:
        routes = owner.get("/v1/models/routes").json()["routes"]
        return next(route for route in routes if route["name"] == "home")

    hybrid.home.script("chat", status(503), times=2)
    hybrid.home.say("Back.")
    body = {"id": uuid.uuid4().hex, "text": FREE_TEXT, "conversation": "failing"}
    assert owner.post("/v1/messages", json=body).status_code == 202
    until(lambda: state()["state"] == "failing")
    assert "503" in state()["why"]
    until(lambda: state()["state"] == "ok")


# --- order, places -----------------------------------------------------------------------------------


def test_the_settings_name_a_route_for_an_intent(
    hybrid: Hybrid, owner: httpx2.Client, settings_file: Path
) -> None:
    second = SECOND.format(url=hybrid.cloud.base_url)
    settings_file.write_text(settings_file.read_text() + second)
    hybrid.home.say("The first.")
    assert hybrid.ask(owner, "intents") == "The first."
    settings_file.write_text(f'{settings_file.read_text()}[models.intents]\nout_of_scope = "second"\n')
    hybrid.cloud.say("The named.")
    assert hybrid.ask(owner, "intents") == "The named."


def test_turns_are_never_busy_they_wait(hybrid: Hybrid, owner: httpx2.Client, settings_file: Path) -> None:
    settings_file.write_text(settings_file.read_text() + "concurrency = 1\nqueue = 1\n")
    for number in range(6):
        hybrid.home.say(f"answer {number}", pause_s=0.2)
    most = 0
    with ThreadPoolExecutor(6) as together:
        asking = [together.submit(hybrid.ask, owner, f"at-once-{number}") for number in range(6)]
        while not all(one.done() for one in asking):
            most = max(most, hybrid.home.open_streams)
            time.sleep(0.01)
    assert sorted(one.result() for one in asking) == [f"answer {number}" for number in range(6)]
    assert most == 1
    health = owner.get("/v1/models/routes").json()["routes"]
    assert next(route for route in health if route["name"] == "home")["state"] == "ok", "busy is not failing"
