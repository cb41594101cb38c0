# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "markdown-it-py>=4",
#   "markitdown[docx,pdf,pptx,xlsx]>=0.1.3",
#   "openpyxl>=3.1",
#   "pydantic>=2.12",
#   "python-docx>=1.2",
#   "python-pptx>=1.0",
# ]
# ///
"""Documents of the workspace: read as Markdown, made, edited and converted. Nothing that is there is replaced."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from activities.functions import documents_docx, documents_pptx, documents_xlsx
from activities.functions.documents_check import OFFICE, kind_of
from activities.functions.documents_docx import document, parser, saved
from activities.functions.documents_pptx import presentation
from activities.functions.documents_text import markdown_of
from activities.functions.documents_xlsx import csv_of, tables_of, workbook
from activities.functions.files import add
from portico.tool import AskAgain, File, ToolContext, ToolFailed, tool

LONGEST_PIECE = 50_000
TARGETS = ("md", "txt", "html", "csv", "docx", "xlsx")

Path = Annotated[str, Field(min_length=3, max_length=1000)]
Markdown = Annotated[str, Field(max_length=500_000)]
Value = str | float | int | bool | None


class Sheet(BaseModel):
    """One sheet of a workbook; the first row holds the headings."""

    name: str = Field("Sheet1", min_length=1, max_length=31, pattern=r"^[^\[\]:*?/\\]+$")
    rows: list[list[Value]] = Field(max_length=20_000)


class Slide(BaseModel):
    """One slide."""

    title: str = Field(max_length=300)
    bullets: list[str] = Field([], max_length=30)
    notes: str = Field("", max_length=5_000)


class Replacement(BaseModel):
    """Every occurrence of `find` becomes `replace`."""

    find: str = Field(min_length=1, max_length=2_000)
    replace: str = Field(max_length=5_000)


class Cell(BaseModel):
    """One cell of a sheet; an empty sheet name means the first one."""

    sheet: str = ""
    cell: str = Field(pattern=r"^[A-Z]{1,3}[1-9][0-9]{0,6}$")
    value: Value


@tool(effects="read", risk="low", timeout_s=180, repeatable=True, concurrency=2)
def documents_read(
    context: ToolContext, file: File, offset: Annotated[int, Field(ge=0)] = 0
) -> dict[str, Any]:
    """Read a document (docx, xlsx, pptx, pdf, html, eml, csv and plain text) as Markdown.

    Args:
        file: the document in the workspace
        offset: the character to begin with, for a document that is too long to be read at once
    """
    text = _markdown(context, file)
    piece = text[offset : offset + LONGEST_PIECE]
    end = offset + len(piece)
    return {"text": piece, "characters": len(text), "next_offset": end if end < len(text) else None}


@tool(effects="read", risk="low", timeout_s=120)
def documents_write_docx(context: ToolContext, path: Path, markdown: Markdown) -> dict[str, Any]:
    """Make a new Word document from Markdown: headings, paragraphs, bold, italic, code, lists, quotes, tables, links.

    Args:
        path: where in the workspace, ending in .docx
        markdown: what it says
    """
    return _kept(context, path, "docx", saved(document(markdown)))


@tool(effects="read", risk="low", timeout_s=120)
def documents_write_xlsx(
    context: ToolContext,
    path: Path,
    sheets: Annotated[list[Sheet], Field(min_length=1, max_length=50)],
    formulas: bool = False,
) -> dict[str, Any]:
    """Make a new Excel workbook from rows of values.

    Args:
        path: where in the workspace, ending in .xlsx
        sheets: its sheets
        formulas: take text that begins with = as a formula; otherwise it stays text
    """
    return _kept(context, path, "xlsx", workbook([(one.name, one.rows) for one in sheets], formulas=formulas))


@tool(effects="read", risk="low", timeout_s=120)
def documents_write_pptx(
    context: ToolContext, path: Path, slides: Annotated[list[Slide], Field(min_length=1, max_length=200)]
) -> dict[str, Any]:
    """Make a new PowerPoint presentation: each slide has a title, bullets and notes. An indented bullet goes deeper.

    Args:
        path: where in the workspace, ending in .pptx
        slides: its slides; the first one with a title alone becomes a title slide
    """
    return _kept(context, path, "pptx", presentation([(one.title, one.bullets, one.notes) for one in slides]))


@tool(effects="read", risk="low", timeout_s=120)
def documents_edit_text(
    context: ToolContext,
    file: File,
    save_as: Path,
    replacements: Annotated[list[Replacement], Field(max_length=200)] = [],  # noqa: B006 - pydantic copies it
    append: Markdown = "",
) -> dict[str, Any]:
    """Replace words in a Word document or presentation, append to a Word document, and save it as a new file.

    Args:
        file: the docx or pptx in the workspace
        save_as: path of the new file
        replacements: what to replace
        append: Markdown that is put at the end of a docx
    """
    kind = kind_of(file)
    pairs = [(one.find, one.replace) for one in replacements]
    if kind not in ("docx", "pptx") or (kind == "pptx" and append):
        raise AskAgain("text is replaced in docx and pptx, and appended to docx")
    if kind == "docx":
        data, count = documents_docx.edited(file.data, pairs, append)
    else:
        data, count = documents_pptx.edited(file.data, pairs)
    if pairs and not count:
        raise AskAgain(f"{file.name} holds none of the words that should be replaced")
    return {**_kept(context, save_as, kind, data), "replaced": count}


@tool(effects="read", risk="low", timeout_s=120)
def documents_edit_xlsx(
    context: ToolContext,
    file: File,
    save_as: Path,
    cells: Annotated[list[Cell], Field(max_length=5_000)] = [],  # noqa: B006
    append: Annotated[list[Sheet], Field(max_length=50)] = [],  # noqa: B006
    formulas: bool = False,
) -> dict[str, Any]:
    """Change cells of a workbook, append rows to its sheets (or new sheets), and save it as a new file.

    Args:
        file: the xlsx in the workspace
        save_as: path of the new file
        cells: cells that get a new value
        append: rows for sheets by name; a sheet that is not there is made
        formulas: take text that begins with = as a formula; otherwise it stays text
    """
    if kind_of(file) != "xlsx":
        raise AskAgain("cells are changed in xlsx")
    changes = [(one.sheet, one.cell, one.value) for one in cells]
    rows = [(one.name, one.rows) for one in append]
    return _kept(context, save_as, "xlsx", documents_xlsx.edited(file.data, changes, rows, formulas=formulas))


@tool(effects="read", risk="low", timeout_s=180, concurrency=2)
def documents_convert(context: ToolContext, file: File, to: Path) -> dict[str, Any]:
    """Convert a document: anything that can be read into md, txt, html or docx; tables into csv or xlsx.

    Args:
        file: the document in the workspace
        to: path of the new file; its ending says the format
    """
    target = to.rpartition(".")[2].lower()
    if target not in TARGETS:
        raise AskAgain(f"to ends in one of {', '.join(TARGETS)}")
    context.progress(f"converting {file.name}")
    return _kept(context, to, target, _converted(context, file, target))


def _converted(context: ToolContext, file: File, target: str) -> bytes:
    if target in ("csv", "xlsx"):
        kind = kind_of(file)
        tables = tables_of(file.data, kind, "" if kind == "xlsx" else _markdown(context, file))
        if not tables:
            raise ToolFailed(f"{file.name} holds no table")
        return workbook(tables, formulas=False) if target == "xlsx" else csv_of(tables[0][1])
    text = _markdown(context, file)
    if target == "docx":
        return saved(document(text))
    if target == "html":
        page = parser().render(text)
        return f'<!doctype html>\n<meta charset="utf-8">\n<title>{_title(file.name)}</title>\n{page}'.encode()
    return text.encode()


def _markdown(context: ToolContext, file: File) -> str:
    kind = kind_of(file)
    context.progress(f"reading {file.name}")
    text = markdown_of(file.data, kind, file.name)
    context.raise_if_cancelled()
    return text


def _kept(context: ToolContext, path: str, kind: str, data: bytes) -> dict[str, Any]:
    if not path.lower().endswith(f".{kind}"):
        raise AskAgain(f"the new file's name ends in .{kind}")
    context.raise_if_cancelled()
    written = add(context.workspace, path, data)
    told = "document" if kind in OFFICE else "file"
    return {"text": f"{told} {written.path}, {written.size_bytes} bytes", "path": written.path}


def _title(name: str) -> str:
    return name.translate({ord(letter): None for letter in '<>&"'})
