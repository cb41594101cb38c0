"""The chat page's English in the HTML, which paints before any script, is the catalogue's."""

from __future__ import annotations

from html.parser import HTMLParser

from console.pages import CHAT_PAGE
from portico.texts import catalog


class MarkedTexts(HTMLParser):
    """Collects (key, text) of every element that the scripts translate."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.styled: list[str] = []
        self._key = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._key = values.get("data-word", "")
        if "data-label" in values:
            self.texts.append((values["data-label"], values.get("aria-label", "")))
        if "data-placeholder" in values:
            self.texts.append((values["data-placeholder"], values.get("placeholder", "")))
        if "style" in values or tag == "style" or any(name.startswith("on") for name in values):
            self.styled.append(tag)

    def handle_data(self, data: str) -> None:
        if self._key:
            self.texts.append((self._key, data))
            self._key = ""

    def handle_endtag(self, tag: str) -> None:
        if self._key:
            self.texts.append((self._key, ""))
            self._key = ""


def test_the_page_has_the_catalogues_english_and_nothing_inline() -> None:
    page = MarkedTexts()
    page.feed(CHAT_PAGE.read_text(encoding="utf-8"))
    english = catalog.section("page")["en"]
    assert len(page.texts) > 20
    assert page.texts == [(key, english[key]) for key, _ in page.texts]
    assert page.styled == []
