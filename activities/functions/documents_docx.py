"""Word documents: from Markdown, and with words replaced. Part of `documents`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from docx import Document
from docx.shared import Pt
from markdown_it import MarkdownIt
from markdown_it.token import Token

from portico.tool import ToolFailed

CODE_FONT = "DejaVu Sans Mono"
DEEPEST_LIST = 3
Document_ = Any


def parser() -> MarkdownIt:
    """CommonMark with tables; HTML stays text, so that none gets into what is made."""
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def document(markdown: str) -> Document_:
    made = Document()
    _write(made, markdown)
    return made


def saved(made: Document_) -> bytes:
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


def edited(data: bytes, pairs: Sequence[tuple[str, str]], append: str) -> tuple[bytes, int]:
    """The document anew, and how often something was replaced."""
    try:
        made = Document(io.BytesIO(data))
    except (SyntaxError, KeyError, ValueError):
        raise ToolFailed("the document is damaged") from None
    count = sum(replace_in(paragraph, pairs) for paragraph in _paragraphs(made))
    if append:
        _write(made, append)
    return saved(made), count


def replace_in(paragraph: Any, pairs: Sequence[tuple[str, str]]) -> int:
    """Words may be spread over runs: what changes is written into the first of them, in its style."""
    count = 0
    for find, replace in pairs:
        found = "".join(run.text for run in paragraph.runs).count(find)
        for _ in range(found):
            _replace_once(paragraph.runs, find, replace)
        count += found
    return count


def _replace_once(runs: Sequence[Any], find: str, replace: str) -> None:
    at = "".join(run.text for run in runs).find(find)
    end, position, put = at + len(find), 0, replace
    for run in runs:
        text = run.text
        first, last = max(at - position, 0), min(end - position, len(text))
        position += len(text)
        if first < last:
            run.text = text[:first] + put + text[last:]
            put = ""


def _paragraphs(made: Document_) -> Iterator[Any]:
    yield from made.paragraphs
    yield from _in_tables(made.tables)
    for section in made.sections:
        for part in (section.header, section.footer):
            yield from part.paragraphs
            yield from _in_tables(part.tables)


def _in_tables(tables: Iterable[Any]) -> Iterator[Any]:
    for table in tables:
        for row in table.rows:
            for cell in row.cells:
                yield from cell.paragraphs
                yield from _in_tables(cell.tables)


def _write(made: Document_, markdown: str) -> None:
    tokens = parser().parse(markdown)
    lists: list[str] = []
    quoted = 0
    for number, token in enumerate(tokens):
        kind = token.type
        if kind in ("bullet_list_open", "ordered_list_open"):
            lists.append("List Bullet" if kind == "bullet_list_open" else "List Number")
        elif kind in ("bullet_list_close", "ordered_list_close"):
            lists.pop()
        elif kind in ("blockquote_open", "blockquote_close"):
            quoted += 1 if kind == "blockquote_open" else -1
        elif kind in ("fence", "code_block"):
            _code(made.add_paragraph(), token.content.rstrip("\n"))
        elif kind == "hr":
            made.add_paragraph("―" * 20)
        elif kind == "table_open":
            _table(made, tokens[number:])
        elif kind == "inline" and tokens[number - 1].type not in ("th_open", "td_open"):
            _inline(_block(made, tokens[number - 1], lists, quoted), token)


def _block(made: Document_, opening: Token, lists: list[str], quoted: int) -> Any:
    if opening.type == "heading_open":
        return made.add_heading(level=int(opening.tag[1:]))
    if lists:
        depth = min(len(lists), DEEPEST_LIST)
        return made.add_paragraph(style=lists[-1] if depth == 1 else f"{lists[-1]} {depth}")
    return made.add_paragraph(style="Quote" if quoted else None)


def _inline(paragraph: Any, token: Token) -> None:
    bold = italic = struck = 0
    link = ""
    for child in token.children or []:
        if child.type in ("strong_open", "strong_close"):
            bold += 1 if child.nesting > 0 else -1
        elif child.type in ("em_open", "em_close"):
            italic += 1 if child.nesting > 0 else -1
        elif child.type in ("s_open", "s_close"):
            struck += 1 if child.nesting > 0 else -1
        elif child.type == "link_open":
            link = str(child.attrGet("href") or "")
        elif child.type == "link_close":
            paragraph.add_run(f" ({link})")
        else:
            _run(paragraph, child, bold=bool(bold), italic=bool(italic), struck=bool(struck))


def _run(paragraph: Any, child: Token, *, bold: bool, italic: bool, struck: bool) -> None:
    if child.type == "hardbreak":
        paragraph.add_run().add_break()
        return
    run = paragraph.add_run(_printable(" " if child.type == "softbreak" else child.content))
    run.bold, run.italic, run.font.strike = bold or None, italic or None, struck or None
    if child.type == "code_inline":
        run.font.name = CODE_FONT


def _code(paragraph: Any, text: str) -> None:
    run = paragraph.add_run(_printable(text))
    run.font.name, run.font.size = CODE_FONT, Pt(9)


def _table(made: Document_, tokens: list[Token]) -> None:
    rows: list[list[Token]] = []
    for token in tokens:
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token)
    table = made.add_table(rows=len(rows), cols=max(len(row) for row in rows), style="Table Grid")
    for row, cells in zip(table.rows, rows, strict=True):
        for cell, token in zip(row.cells, cells, strict=False):
            _inline(cell.paragraphs[0], token)


def _printable(text: str) -> str:
    """XML holds no control characters."""
    return "".join(letter for letter in text if letter >= " " or letter in "\n\t")
