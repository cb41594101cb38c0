"""What time it is, here or anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from string import capwords

from activities.functions.places import HERE, SeveralZones, offset_name, zone_here, zone_of
from portico.tool import AskAgain, ToolContext, tool

LONGEST_PLACE = 80

_DAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
}
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_UNKNOWN = {
    "en": "I do not know the time zone of '{place}'; try a city or zone: Tokyo, Europe/Berlin, UTC+3",
    "zh": "我不知道“{place}”的时区；请给出城市或时区：东京、Europe/Berlin、UTC+3",
}
_SEVERAL = {
    "en": "{place} has several time zones; which city, for example {cities}?",
    "zh": "{place}有多个时区，请说出城市，例如{cities}",
}


@tool(effects="none", risk="low", timeout_s=5, repeatable=True)
def time(context: ToolContext, place: str = "") -> dict[str, str]:
    """Tell the date and time, here or at a place.

    Args:
        place: a city, country or time zone, such as Tokyo, 东京, Europe/Berlin or UTC+3; empty for here
    """
    language = context.language if context.language in _DAYS else "en"
    wanted = place.strip()
    now = datetime.now(UTC)
    if wanted.lower() in HERE:
        wanted = ""
        name, zone = zone_here(now)
    else:
        name, zone = _zone(wanted, language)
    moment = now.astimezone(zone)
    text = in_words(moment, wanted, language)
    return {"text": text, "iso": moment.isoformat(timespec="seconds"), "zone": name}


def in_words(moment: datetime, place: str, language: str) -> str:
    """One sentence with time, day and offset."""
    day = _DAYS[language][moment.weekday()]
    offset = offset_name(moment)
    if language == "zh":
        date = f"{moment.year}年{moment.month}月{moment.day}日 {day} {moment:%H:%M}"
        return f"{place}现在是 {date}（{offset}）。"
    where = f" in {_titled(place)}" if place else ""
    date = f"{day}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"It is {moment:%H:%M} on {date}{where} ({offset})."


def _titled(place: str) -> str:
    """`tokyo` as people write it; `utc` and zone names as they are."""
    is_name = place.islower() and place.replace(" ", "").isalpha() and len(place) > 3
    return capwords(place) if is_name else place


def _zone(place: str, language: str) -> tuple[str, tzinfo]:
    try:
        found = zone_of(place) if len(place) <= LONGEST_PLACE else None
    except SeveralZones as several:
        raise AskAgain(_SEVERAL[language].format(place=place, cities=several.cities)) from None
    if not found:
        raise AskAgain(_UNKNOWN[language].format(place=place[:30]))
    return found
