"""`/v1/models`: a model server is found, used only on the word of someone who may, and then writes answers.

One whole stack with an Ollama of our own beside it, at a port that the settings name.
"""

from __future__ import annotations

import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from portico.llm.offers import LOOK_AGAIN_S
from portico.storage.engine.database import Database
from tests.api.conftest import EdgeStack
from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI
from tests.fakes.telegram import FakeTelegram
from tests.support import RunningStack

FREE_TEXT = "Write me a poem about doors, please"


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(models=["llama3:latest", "nomic-embed-text:latest"], owned_by="library") as running:
        yield running


@pytest.fixture(scope="module")
def beside(ollama: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStack]:
    stack = RunningStack(tmp_path_factory.mktemp("models"), settings=_settings(ollama))
    with FakeTelegram() as telegram, FakeReceiver() as receiver, stack as running:
        yield EdgeStack(running, telegram, receiver)


@pytest.fixture
def owner(beside: EdgeStack) -> Iterator[httpx2.Client]:
    with beside.person() as client:
        yield client


@pytest.fixture(autouse=True)
def as_it_was(beside: EdgeStack, ollama: FakeOpenAI) -> Iterator[None]:
    ollama.models = ["llama3:latest", "llama3", "nomic-embed-text:latest"]
    before = beside.running.home.settings.read_text()
    yield
    beside.running.home.settings.write_text(before)


def _settings(ollama: FakeOpenAI) -> str:
    return f"# mine\n[models]\nports = [{ollama.port}]\n"


def _offered(client: httpx2.Client) -> list[str]:
    found = client.get("/v1/models/routes").json()["offers"]
    # The usual ports of this machine may be somebody's.
    return [offer["name"] for offer in found if offer["server"] == "ollama"]


def _until(condition: Callable[[], bool], *, timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)


def _ask(client: httpx2.Client, text: str) -> str:
    body = {"id": uuid.uuid4().hex, "text": text, "conversation": "doors"}
    answer = client.post("/v1/messages", params={"wait_s": 30}, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["reply"]["parts"][0]["text"])


# --- refused -----------------------------------------------------------------------------------------


def test_a_stranger_is_told_nothing(beside: EdgeStack) -> None:
    with beside.stranger() as stranger:
        assert stranger.get("/v1/models/routes").status_code == 401
        assert stranger.post("/v1/models/use", json={"name": "ollama/llama3"}).status_code == 401


@pytest.mark.parametrize("role", ["member", "guest", "service", "auditor"])
def test_using_a_model_is_for_owner_and_admins(beside: EdgeStack, ollama: FakeOpenAI, role: str) -> None:
    before = beside.running.home.settings.read_text()
    with beside.person(beside.key(role)) as person:
        # Whether the model is there makes no difference: policy is asked first.
        for name in ("ollama/llama3", "ollama/nothing"):
            answer = person.post("/v1/models/use", json={"name": name})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert _offered(person) == ["ollama/llama3"]
    assert beside.running.home.settings.read_text() == before


def test_only_what_answers_right_now_can_be_used(
    beside: EdgeStack, ollama: FakeOpenAI, owner: httpx2.Client
) -> None:
    before = beside.running.home.settings.read_text()
    _until(lambda: _offered(owner) == ["ollama/llama3"])
    ollama.models = ["other"]  # what was found a moment ago does not count
    answer = owner.post("/v1/models/use", json={"name": "ollama/llama3"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "ollama/llama3" in answer.json()["title"]
    assert beside.running.home.settings.read_text() == before


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 241}, {"name": 5}])
def test_a_name_that_is_none_is_refused(owner: httpx2.Client, body: dict[str, object]) -> None:
    answer = owner.post("/v1/models/use", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_settings_file_of_another_shape_is_left_alone(beside: EdgeStack, owner: httpx2.Client) -> None:
    path = beside.running.home.settings
    strange = (
        path.read_text() + '[llm]\nroutes.a = {kind = "openai", base_url = "http://h:1/v1", model = "m"}\n'
    )
    path.write_text(strange)
    answer = owner.post("/v1/models/use", json={"name": "ollama/llama3"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "[llm.routes.ollama-llama3]" in answer.json()["title"]
    assert path.read_text() == strange


# --- found, and used ---------------------------------------------------------------------------------


def test_finding_is_not_using(beside: EdgeStack, ollama: FakeOpenAI, owner: httpx2.Client) -> None:
    _until(lambda: _offered(owner) == ["ollama/llama3"])
    assert owner.get("/v1/models/routes").json()["routes"] == []
    assert "portico models use" in _ask(owner, FREE_TEXT)
    assert ollama.asked == []


def test_a_chosen_model_writes_the_next_answer_without_a_restart(
    beside: EdgeStack, ollama: FakeOpenAI, owner: httpx2.Client
) -> None:
    pids = [beside.running.pid(part) for part in ("api", "worker")]
    with beside.person(beside.key("admin", "of the models")) as admin:
        answer = admin.post("/v1/models/use", json={"name": "ollama/llama3"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"name": "ollama/llama3", "model": "llama3", "route": "ollama-llama3"}
    told = owner.get("/v1/models/routes").json()
    (route,) = told["routes"]
    assert route == {
        "name": "ollama-llama3", "model": "llama3", "locality": "local", "state": "unknown", "why": "",
    }  # fmt: skip
    assert _offered(owner) == []

    text = beside.running.home.settings.read_text()
    assert "# mine" in text
    assert tomllib.loads(text)["llm"]["routes"]["ollama-llama3"]["base_url"] == ollama.base_url
    ollama.say("Doors ", "open ", "and close.")
    assert _ask(owner, FREE_TEXT) == "Doors open and close."
    assert owner.get("/v1/models/routes").json()["routes"][0]["state"] == "ok"
    assert [beside.running.pid(part) for part in ("api", "worker")] == pids


def test_the_choice_is_on_record(beside: EdgeStack, owner: httpx2.Client) -> None:
    async def decided(database: Database) -> list[str]:
        return await database.read(
            lambda connection: [
                str(row["effect"])
                for row in connection.execute(
                    "SELECT effect FROM decisions WHERE question = 'admin' ORDER BY at DESC LIMIT 1"
                )
            ]
        )

    assert owner.post("/v1/models/use", json={"name": "ollama/llama3"}).status_code == 200
    assert beside.database(decided) == ["allow"]
    with beside.person(beside.key("member", "somebody else")) as member:
        assert member.post("/v1/models/use", json={"name": "ollama/llama3"}).status_code == 403
    assert beside.database(decided) == ["deny"]


def test_looking_is_shared_by_all_who_ask(owner: httpx2.Client, ollama: FakeOpenAI) -> None:
    owner.get("/v1/models/routes")
    begun, before = time.monotonic(), ollama.listed
    with ThreadPoolExecutor(8) as together:
        answers = list(together.map(lambda _: owner.get("/v1/models/routes").status_code, range(40)))
    assert answers == [200] * 40
    assert ollama.listed - before <= 1 + (time.monotonic() - begun) / LOOK_AGAIN_S
