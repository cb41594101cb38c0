"""CommonMark into the HTML that Telegram knows, cut into messages that fit.

A text becomes pieces, each with the tags around it; a message is as many pieces as fit, and its tags are
opened and closed anew. So no cut can break a tag, an entity or a code block. Bot API, "HTML style":
https://core.telegram.org/bots/api#html-style
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from channels.text import utf16_len

_WORDS = re.compile(r"\n+|[^\S\n]+|\S+")
_LINKS = ("http://", "https://", "mailto:", "tel:", "tg://")
_INLINE = {"strong": "b", "em": "i", "s": "s"}
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,32}")
_MEANING = r"\\`*_\[\]<>&~|\s\x00-\x1f\x7f\ud800-\udfff"
_WORD = f"[^{_MEANING}]+"
_LINE = f"(?![-+=#:]|[0-9]+[.)]){_WORD}(?: +{_WORD})*"
UNMARKED = re.compile(f"{_LINE}(?:\n\n?{_LINE})*")
"""Paragraphs without any character that CommonMark could read as markup, where it stands.

So no line begins with white space, a bullet, a number with a dot, an underline or a heading's mark, and none
ends with white space, which would be a hard break.
"""
LONGEST_WORD = 64
"""Words are cut after this many characters when they have to be cut at all: short enough for any limit."""
LONGEST_LINK = 1024


class Tag(NamedTuple):
    name: str
    attributes: str = ""

    @property
    def opening(self) -> str:
        return f"<{self.name}{self.attributes}>"

    @property
    def closing(self) -> str:
        return f"</{self.name}>"


class Piece(NamedTuple):
    """Text and the tags around it, outermost first."""

    text: str
    tags: tuple[Tag, ...] = ()


def pieces_of(markdown: str) -> list[Piece]:
    """The pieces of a CommonMark text, without empty lines at its ends."""
    if UNMARKED.fullmatch(markdown):
        return [Piece(markdown)]  # most of what is said, and a parser would find nothing in it
    return parsed(markdown)


def parsed(markdown: str) -> list[Piece]:
    """What the parser finds in any text."""
    walk = _Walk()
    whole = markdown.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
    for token in _parser().parse(whole):
        walk.block(token)
    return walk.pieces


def messages(pieces: Iterable[Piece], *, limit: int) -> list[str]:
    """HTML texts of at most `limit` UTF-16 units, balanced each, which together hold every word."""
    pieces = list(pieces)
    if not any(piece.tags for piece in pieces):
        whole = _escaped("".join(piece.text for piece in pieces))
        if utf16_len(whole) <= limit:
            return [whole.strip()] if whole.strip() else []
    return _cut([atom for piece in pieces for atom in _atoms(piece)], limit)


def plain(text: str) -> str:
    """What a reader sees of an HTML text of ours."""
    return html.unescape(re.sub(r"<[^>]*>", "", text))


def _cut(atoms: list[Piece], limit: int) -> list[str]:
    found = []
    start = 0
    while start < len(atoms):
        end = _fitting(atoms, start, limit)
        text = _html(_trimmed(atoms[start:end]))
        if text:
            found.append(text)
        start = end
    return found


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # Without `html`, what looks like a tag is text: nothing in a message can write tags of its own.
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])


@dataclass
class _List:
    ordered: bool
    number: int


class _Walk:
    """Turns markdown-it's tokens into pieces."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._tags: list[Tag] = []
        self._quotes = 0
        self._lists: list[_List] = []
        self._fresh_item = False
        self._rows: list[list[str]] | None = None

    def block(self, token: Token) -> None:
        kind = token.type
        if self._rows is not None:
            self._table(token)
        elif kind == "inline":
            self._inline(token.children or [])
        elif kind in ("fence", "code_block"):
            self._gap()
            self._code_block(token)
        elif kind == "hr":
            self._gap()
            self._text("———")
        elif kind == "table_open":
            self._rows = []
        elif kind in ("paragraph_open", "heading_open"):
            self._gap(tight=token.hidden)
            if kind == "heading_open":
                self._tags.append(Tag("b"))
        elif kind == "heading_close":
            self._tags.pop()
        else:
            self._container(token)

    def _container(self, token: Token) -> None:
        match token.type:
            case "blockquote_open":
                self._gap()
                self._quotes += 1
                self._fresh_item = True
            case "blockquote_close":
                self._quotes -= 1
                self._fresh_item = False
            case "bullet_list_open" | "ordered_list_open":
                ordered = token.type.startswith("ordered")
                self._gap(tight=bool(self._lists))
                self._lists.append(_List(ordered, int(token.attrGet("start") or 1) if ordered else 0))
                self._fresh_item = True
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                self._fresh_item = False
            case "list_item_open":
                self._item(token)

    def _item(self, token: Token) -> None:
        if not self._fresh_item:
            self._text("\n")
        current = self._lists[-1]
        bullet = f"{token.info or current.number}{token.markup}" if current.ordered else "•"
        self._text("  " * (len(self._lists) - 1) + bullet + " ")
        self._fresh_item = True

    def _gap(self, *, tight: bool = False) -> None:
        """Space before a block, but none at the beginning of a text, item or quote."""
        if self._fresh_item:
            self._fresh_item = False
        elif self.pieces:
            self._text("\n" if tight or self._lists else "\n\n")

    def _inline(self, tokens: list[Token]) -> None:
        for token in tokens:
            name = token.type.removesuffix("_open").removesuffix("_close")
            if name in _INLINE or name == "link":
                self._nest(token, name)
            elif token.type in ("softbreak", "hardbreak"):
                self._text("\n")
            elif token.type == "code_inline":
                self._text(token.content, Tag("code"))
            elif token.type == "image":
                self._image(token)
            else:
                self._text(token.content)

    def _nest(self, token: Token, name: str) -> None:
        if token.nesting < 0:
            self._tags.pop()
            return
        self._tags.append(Tag(_INLINE[name]) if name in _INLINE else _link(str(token.attrGet("href") or "")))

    def _image(self, token: Token) -> None:
        source = str(token.attrGet("src") or "")
        link = _link(source)
        if any(tag.name == "a" for tag in self._tags) or not link.name:
            self._text(token.content or source)
        else:
            self._text(token.content or source, link)

    def _code_block(self, token: Token) -> None:
        language = (token.info or "").split(maxsplit=1)[0] if (token.info or "").strip() else ""
        tags = [Tag("pre")]
        if _LANGUAGE.fullmatch(language):
            tags.append(Tag("code", f' class="language-{html.escape(language)}"'))
        self._text(token.content.rstrip("\n"), *tags)

    def _table(self, token: Token) -> None:
        rows = self._rows if self._rows is not None else []
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append("".join(child.content or " " for child in token.children or []))
        elif token.type == "table_close":
            self._rows = None
            self._gap()
            self._text(_columns(rows), Tag("pre"))

    def _text(self, text: str, *code: Tag) -> None:
        """Add text. Code contains no other tags and is in no other tag but a quote, as the Bot API demands."""
        quote = (Tag("blockquote"),) if self._quotes else ()
        inner = code if code and code[0].name != "a" else (*self._unique(), *code)
        if text:
            self.pieces.append(Piece(text, (*quote, *inner)))

    def _unique(self) -> tuple[Tag, ...]:
        return tuple(dict.fromkeys(tag for tag in self._tags if tag.name))


def _link(url: str) -> Tag:
    """A tag without a name stands for a link that Telegram would not take: its text stays."""
    escaped = html.escape(url)
    if not url.lower().startswith(_LINKS) or len(escaped) > LONGEST_LINK:
        return Tag("")
    return Tag("a", f' href="{escaped}"')


def _columns(rows: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=False)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _atoms(piece: Piece) -> Iterator[Piece]:
    for word in _WORDS.findall(piece.text):
        for start in range(0, len(word), LONGEST_WORD):
            yield Piece(word[start : start + LONGEST_WORD], piece.tags)


def _fitting(atoms: list[Piece], start: int, limit: int) -> int:
    """Where the message that begins at `start` ends: at the best place to cut before the limit."""
    width = 0
    before: tuple[Tag, ...] = ()
    best, best_rank, best_width = start, 0, 0
    for index in range(start, len(atoms)):
        atom = atoms[index]
        rank = _rank(atoms, index) if index > start else 0
        if rank and (rank >= best_rank or width > 2 * best_width):
            best, best_rank, best_width = index, rank, width
        width += _switch_width(before, atom.tags) + _width(atom.text)
        before = atom.tags
        if width + sum(utf16_len(tag.closing) for tag in before) > limit:
            return best if best > start else max(index, start + 1)
    return len(atoms)


def _rank(atoms: list[Piece], index: int) -> int:
    """How good a cut before an atom is: 3 before a paragraph, 2 a line, 1 a word, 0 within a word."""
    here, last = atoms[index].text, atoms[index - 1].text
    if here.startswith("\n\n"):
        return 3
    if here.startswith("\n"):
        return 2
    return 1 if here.isspace() or last.isspace() else 0


def _trimmed(atoms: list[Piece]) -> list[Piece]:
    """Without white space at the ends; within code, the first line keeps its indentation."""
    while atoms and atoms[-1].text.isspace():
        atoms = atoms[:-1]
    while atoms and atoms[0].text.isspace() and ("\n" in atoms[0].text or not _is_code(atoms[0])):
        atoms = atoms[1:]
    return atoms


def _is_code(piece: Piece) -> bool:
    return any(tag.name == "pre" for tag in piece.tags)


def _html(atoms: list[Piece]) -> str:
    out: list[str] = []
    before: tuple[Tag, ...] = ()
    for atom in atoms:
        shared = _shared(before, atom.tags)
        out += [tag.closing for tag in reversed(before[shared:])]
        out += [tag.opening for tag in atom.tags[shared:]]
        out.append(_escaped(atom.text))
        before = atom.tags
    out += [tag.closing for tag in reversed(before)]
    return "".join(out)


def _shared(before: tuple[Tag, ...], after: tuple[Tag, ...]) -> int:
    count = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        count += 1
    return count


def _switch_width(before: tuple[Tag, ...], after: tuple[Tag, ...]) -> int:
    shared = _shared(before, after)
    closing = sum(utf16_len(tag.closing) for tag in before[shared:])
    return closing + sum(utf16_len(tag.opening) for tag in after[shared:])


def _width(text: str) -> int:
    return utf16_len(_escaped(text))


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
