"""What Telegram makes of HTML: https://core.telegram.org/bots/api#html-style"""

from __future__ import annotations

from html.parser import HTMLParser

TAGS = {
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "a",
    "code",
    "pre",
    "blockquote",
    "tg-spoiler",
}


class _Html(HTMLParser):
    """Telegram's HTML: few tags, each closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.open: list[str] = []
        self.wrong = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong = self.wrong or f'Unsupported start tag "{tag}"'
        if {"pre", "code"} & set(self.open) and self.open[-1:] != ["pre"]:
            self.wrong = self.wrong or f'Tag "{tag}" lies in code'
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong = self.wrong or f'Unexpected end tag "{tag}"'

    def handle_data(self, data: str) -> None:
        self.text += data


def visible(text: str) -> tuple[str, str]:
    """What a person sees of an HTML text, and what is wrong with it."""
    parser = _Html()
    parser.feed(text)
    parser.close()
    if parser.open and not parser.wrong:
        parser.wrong = f'Can\'t find end tag corresponding to start tag "{parser.open[-1]}"'
    return parser.text, parser.wrong
