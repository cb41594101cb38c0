from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.functions.places import zone_of
from activities.functions.time import in_words, time
from portico.tool import AskAgain, ToolContext, ToolError

EN = ToolContext(language="en")
ZH = ToolContext(language="zh")


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ("Tokyo", "Asia/Tokyo"),
        ("tokyo?", "Asia/Tokyo"),
        ("东京", "Asia/Tokyo"),
        ("日本", "Asia/Tokyo"),
        ("New York", "America/New_York"),
        ("纽约", "America/New_York"),
        ("北京市", "Asia/Shanghai"),
        ("Beijing", "Asia/Shanghai"),
        ("San Francisco", "America/Los_Angeles"),
        ("São Paulo", "America/Sao_Paulo"),
        ("sao paulo", "America/Sao_Paulo"),
        ("Paris, France", "Europe/Paris"),
        ("the Netherlands", "Europe/Amsterdam"),
        ("London time", "Europe/London"),
        ("Singapore", "Asia/Singapore"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        ("UTC+3", "UTC+3"),
        ("gmt-05:30", "UTC-5:30"),
        ("+8", "UTC+8"),
        ("UTC", "UTC"),
    ],
)
def test_places_are_found(place: str, zone: str) -> None:
    assert time(EN, place)["zone"] == zone


def test_the_time_at_a_place_is_its_own() -> None:
    there = datetime.fromisoformat(time(EN, "Kathmandu")["iso"])
    assert there.utcoffset() == datetime.now(ZoneInfo("Asia/Kathmandu")).utcoffset()
    assert abs((datetime.now(UTC) - there).total_seconds()) < 5


@pytest.mark.parametrize("place", ["", "here", "这里"])
def test_without_a_place_it_is_the_time_here(place: str) -> None:
    here = datetime.fromisoformat(time(EN, place)["iso"])
    assert here.utcoffset() == datetime.now().astimezone().utcoffset()


@pytest.mark.parametrize("place", ["Atlantis", "UTC+15", "../../etc/passwd", "\0", "x" * 500, "the time"])
def test_an_unknown_place_is_asked_again(place: str) -> None:
    with pytest.raises(AskAgain) as raised:
        time(EN, place)
    assert len(str(raised.value)) < 200


def test_a_country_of_many_zones_is_asked_for_a_city() -> None:
    with pytest.raises(AskAgain, match="Chicago"):
        time(EN, "USA")
    with pytest.raises(AskAgain, match="洛杉矶"):
        time(ZH, "美国")


MOMENT = datetime(2026, 11, 22, 9, 5, tzinfo=ZoneInfo("Asia/Tokyo"))


def test_the_words_are_in_the_persons_language() -> None:
    assert in_words(MOMENT, "tokyo", "en") == "It is 09:05 on Sunday, 22 November 2026 in Tokyo (UTC+9)."
    assert in_words(MOMENT, "", "en") == "It is 09:05 on Sunday, 22 November 2026 (UTC+9)."
    assert in_words(MOMENT, "东京", "zh") == "东京现在是 2026年11月22日 星期日 09:05（UTC+9）。"


def test_another_language_gets_english() -> None:
    assert time(ToolContext(language="fr"), "Paris")["text"].startswith("It is ")


@given(st.text(max_size=120))
def test_no_text_breaks_it(text: str) -> None:
    try:
        answer = time(EN, text)
    except ToolError:
        return
    assert datetime.fromisoformat(answer["iso"]).tzinfo is not None


def test_every_name_in_the_table_has_a_zone() -> None:
    from activities.functions.places import _table

    zones = set(_table().values())
    assert len(zones) > 400
    assert all(ZoneInfo(zone) for zone in zones)
    assert zone_of("上海") is not None
