"""Presentations: from titles and bullets, and with words replaced. Part of `documents`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

from pptx import Presentation
from pptx.exc import PackageNotFoundError

from activities.functions.documents_docx import replace_in
from portico.tool import ToolFailed

TITLE_SLIDE, TITLE_AND_CONTENT = 0, 1
DEEPEST = 4


def presentation(slides: Sequence[tuple[str, Sequence[str], str]]) -> bytes:
    made = Presentation()
    for number, (title, bullets, notes) in enumerate(slides):
        layout = TITLE_SLIDE if number == 0 and not bullets else TITLE_AND_CONTENT
        slide = made.slides.add_slide(made.slide_layouts[layout])
        slide.shapes.title.text = _printable(title)
        _bullets(slide.placeholders[1].text_frame, bullets)
        if notes:
            slide.notes_slide.notes_text_frame.text = _printable(notes)
    return _saved(made)


def edited(data: bytes, pairs: Sequence[tuple[str, str]]) -> tuple[bytes, int]:
    """The presentation anew, and how often something was replaced."""
    try:
        made = Presentation(io.BytesIO(data))
    except (PackageNotFoundError, SyntaxError, KeyError, ValueError):
        raise ToolFailed("the presentation is damaged") from None
    count = sum(replace_in(paragraph, pairs) for paragraph in _paragraphs(made))
    return _saved(made), count


def _bullets(frame: Any, bullets: Sequence[str]) -> None:
    for number, bullet in enumerate(bullets):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        paragraph.text = _printable(bullet.strip())
        paragraph.level = min((len(bullet) - len(bullet.lstrip())) // 2, DEEPEST)


def _paragraphs(made: Any) -> Iterator[Any]:
    for slide in made.slides:
        yield from _in_shapes(slide.shapes)
        if slide.has_notes_slide:
            yield from slide.notes_slide.notes_text_frame.paragraphs


def _in_shapes(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        if shape.has_text_frame:
            yield from shape.text_frame.paragraphs
        if getattr(shape, "has_table", False):
            for row in shape.table.rows:
                for cell in row.cells:
                    yield from cell.text_frame.paragraphs
        if hasattr(shape, "shapes"):
            yield from _in_shapes(shape.shapes)


def _saved(made: Any) -> bytes:
    target = io.BytesIO()
    made.save(target)
    return target.getvalue()


def _printable(text: str) -> str:
    """XML holds no control characters."""
    return "".join(letter for letter in text if letter >= " " or letter in "\n\t")
