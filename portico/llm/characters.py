"""Text as servers send it may hold halves of characters (lone surrogates), which nothing after them can take."""

from __future__ import annotations


def mended(text: str) -> str:
    """Halves that belong together are joined, others become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class WholeCharacters:
    """Takes pieces of a text, gives pieces that end with a whole character: some servers cut emoji in two."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        text, self._held = self._held + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return mended(text)

    def rest(self) -> str:
        held, self._held = self._held, ""
        return mended(held)
