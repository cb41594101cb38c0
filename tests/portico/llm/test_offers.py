from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.errors import Misconfigured, NotFound
from portico.llm.adopt import adopt
from portico.llm.detect import Offer
from portico.llm.offers import ModelOffers
from portico.settings.home import Home
from portico.settings.load import load_settings
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def ollama() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(models=["tiny", "large"], owned_by="library") as running:
        yield running


def offers_in(home: Home, ollama: FakeOpenAI, more: str = "") -> ModelOffers:
    home.settings.write_text(f"[models]\nports = [{ollama.port}]\n{more}")
    return ModelOffers(home, load_settings(home))


async def names(offers: ModelOffers, ollama: FakeOpenAI) -> list[str]:
    return [offer.name for offer in await offers.offers() if offer.base_url == ollama.base_url]


async def test_what_another_process_chose_is_used_and_not_offered_again(
    home: Home, ollama: FakeOpenAI
) -> None:
    offers = offers_in(home, ollama)
    assert await names(offers, ollama) == ["ollama/tiny", "ollama/large"]
    assert offers.routes() == {}
    adopt(home.settings, Offer("ollama", "tiny", ollama.base_url))
    assert list(offers.routes()) == ["ollama-tiny"]
    assert await names(offers, ollama) == ["ollama/large"]


async def test_nothing_is_looked_for_where_that_is_switched_off_before_a_person_asks(
    home: Home, ollama: FakeOpenAI
) -> None:
    offers = offers_in(home, ollama, "detect = false\n")
    assert await offers.offers() == ()
    assert ollama.listed == 0
    offer, route = await offers.use("ollama/tiny:latest")
    assert (offer.model, route) == ("tiny", "ollama-tiny")
    assert [route.model for route in offers.routes().values()] == ["tiny"]


async def test_a_model_that_has_gone_is_not_used(home: Home, ollama: FakeOpenAI) -> None:
    offers = offers_in(home, ollama)
    await offers.offers()
    ollama.stop()
    with pytest.raises(NotFound, match="ollama/tiny"):
        await offers.use("ollama/tiny")
    assert offers.routes() == {}


async def test_two_choices_at_once_both_count(home: Home, ollama: FakeOpenAI) -> None:
    offers = offers_in(home, ollama)
    await asyncio.gather(offers.use("ollama/tiny"), offers.use("ollama/large"))
    assert {route.model for route in offers.routes().values()} == {"tiny", "large"}


def test_a_file_that_cannot_be_written_is_named_with_what_to_add() -> None:
    with pytest.raises(Misconfigured, match=r"(?s)cannot be written.*\[llm\.routes\.ollama-tiny\]"):
        adopt(Path("/proc/nothing/portico.toml"), Offer("ollama", "tiny", "http://127.0.0.1:1/v1"))


@pytest.mark.parametrize("ports", ["[0]", "[70000]", '["x"]', "5"])
def test_a_port_that_is_none_is_an_error(home: Home, ports: str) -> None:
    home.settings.write_text(f"[models]\nports = {ports}\n")
    with pytest.raises(Misconfigured, match=r"models\.ports"):
        load_settings(home)
