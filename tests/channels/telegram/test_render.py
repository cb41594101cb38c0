from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels.telegram import markup
from channels.telegram.channel import Telegram
from channels.telegram.markup import UNMARKED, Piece, messages, parsed, pieces_of, plain
from channels.telegram.parse import LABEL_DATA
from channels.telegram.render import ROOM, TEXT_LIMIT
from portico.contracts.messages import BlobRef, CardPart, Choice, ChoicesPart, FilePart, Reply, TextPart

CHANNEL = Telegram()
TAGS = {"b", "i", "s", "a", "code", "pre", "blockquote"}


class Balanced(HTMLParser):
    """Fails on a tag that Telegram does not know, or that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert not {"code", "pre"} & set(self.open) or self.open[-1] == "pre"
        assert self.open.count(tag) == 0
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(text: str) -> None:
    assert utf16(text) <= ROOM
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert not re.search(r"&(?!(amp|lt|gt|quot|#x27);)", text)


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def texts(markdown: str) -> list[str]:
    return [str(one.payload["text"]) for one in CHANNEL.render(Reply.of_text(markdown))]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("plain", "plain"),
        ("half \ud83c a flower", "half ? a flower"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("**bold** *thin* ~~gone~~ `x < 1`", "<b>bold</b> <i>thin</i> <s>gone</s> <code>x &lt; 1</code>"),
        ("# Title", "<b>Title</b>"),
        ("[here](https://a.example/?x=1&y=2)", '<a href="https://a.example/?x=1&amp;y=2">here</a>'),
        ("[here](javascript:alert(1))", "[here](javascript:alert(1))"),
        ("[here](ftp://a.example)", "here"),
        ("<b>not mine</b>", "&lt;b&gt;not mine&lt;/b&gt;"),
        ("**`code`**", "<code>code</code>"),
        ("- one\n- two\n  - three", "• one\n• two\n  • three"),
        ("2. two\n3. three", "2. two\n3. three"),
        ("> said", "<blockquote>said</blockquote>"),
        ("> a\n> > b", "<blockquote>a\n\nb</blockquote>"),
        (
            "```python\na = 1\n\nb < 2\n```",
            '<pre><code class="language-python">a = 1\n\nb &lt; 2</code></pre>',
        ),
        ("```\nx\n```", "<pre>x</pre>"),
        ("one\ntwo\n\nthree", "one\ntwo\n\nthree"),
        ("| a | b |\n|---|---|\n| 10 | 2 |", "<pre>a   b\n10  2</pre>"),
        ("![cat](https://a.example/c.png)", '<a href="https://a.example/c.png">cat</a>'),
        ("**a [b](https://c.example) d**", '<b>a <a href="https://c.example">b</a> d</b>'),
    ],
)
def test_commonmark_becomes_the_html_that_telegram_knows(markdown: str, expected: str) -> None:
    assert texts(markdown) == [expected]


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "```\n```"])
def test_nothing_to_say_is_no_call(text: str) -> None:
    assert CHANNEL.render(Reply.of_text(text)) == ()


def test_a_long_text_is_cut_between_paragraphs() -> None:
    paragraph = "word " * 300
    found = texts("\n\n".join([paragraph.strip()] * 6))
    assert len(found) == 3
    assert all(text.startswith("word") and text.endswith("word") for text in found)
    assert {text.count("\n\n") for text in found} == {1}


def test_code_is_opened_anew_in_every_message() -> None:
    code = "\n".join(f"    line {number} < {number + 1}" for number in range(600))
    found = texts(f"```c\n{code}\n```")
    assert len(found) > 2
    for text in found:
        check(text)
        assert text.startswith('<pre><code class="language-c">    line')
        assert text.endswith("</code></pre>")
    assert "\n".join(plain(text) for text in found) == code


def test_a_word_longer_than_a_message_is_cut_within() -> None:
    found = texts("🌻" * 5000)
    assert len(found) == 3
    assert "".join(found) == "🌻" * 5000


def test_quotes_what_it_answers_once_and_shows_no_previews() -> None:
    first, second = CHANNEL.render(Reply(parts=(TextPart(text="a"), TextPart(text="b")), quotes="77"))
    assert first.payload["reply_parameters"] == {"message_id": 77, "allow_sending_without_reply": True}
    assert "reply_parameters" not in second.payload
    assert first.payload["link_preview_options"] == {"is_disabled": True}


def test_choices_become_buttons_below_the_last_message() -> None:
    long = "v" * 65
    choices = (
        Choice(label="Yes", value="yes"),
        Choice(label="L" * 80, value=long),
        Choice(label="三", value="三" * 22),
    )
    *_, last = CHANNEL.render(Reply(parts=(ChoicesPart(text="word " * 1000, choices=choices),)))
    keyboard: Any = dict[str, Any](last.payload)["reply_markup"]["inline_keyboard"]
    assert [row[0]["text"] for row in keyboard] == ["Yes", "L" * 63 + "…", "三"]
    assert keyboard[0][0]["callback_data"] == "yes"
    assert keyboard[1][0]["callback_data"].startswith(LABEL_DATA)
    assert all(len(row[0]["callback_data"].encode()) <= 64 for row in keyboard)


def test_files_are_references_until_they_are_sent() -> None:
    blob = BlobRef(key="k", size_bytes=5)
    big = BlobRef(key="k", size_bytes=11_000_000)
    photo, large, file = CHANNEL.render(
        Reply(
            parts=(
                FilePart(type="image", media_type="image/png", name="a.png", blob=blob),
                FilePart(type="image", media_type="image/png", name="a.png", blob=big),
                FilePart(media_type="text/csv", name="a.csv", blob=blob),
            )
        )
    )
    assert [photo.method, large.method, file.method] == ["sendPhoto", "sendDocument", "sendDocument"]
    assert dict[str, Any](file.payload)["file"]["field"] == "document"


def test_a_card_is_a_bold_title_with_lines() -> None:
    (card,) = CHANNEL.render(Reply(parts=(CardPart(title="A <1>", text="*b*", url="https://a.example"),)))
    assert card.payload["text"] == "<b>A &lt;1&gt;</b>\n<i>b</i>\nhttps://a.example"


def test_a_mark_is_seen_and_fits() -> None:
    (one,) = CHANNEL.render(Reply.of_text("a" * ROOM))
    marked = CHANNEL.marked(one)
    assert str(marked.payload["text"]).startswith("↻ ")
    assert utf16(str(marked.payload["text"])) == TEXT_LIMIT
    assert str(one.payload["text"]).startswith("a")


MARKS = "*_`[]()#>~|\\-+=!&;:<\"'./ \n\t0123456789ab🌻é汉\u200d@"
PHRASES = [
    "**b",
    "*",
    "`",
    "> ",
    "- ",
    "1. ",
    "[x](https://a.b)",
    "![i](http://c)",
    "~~",
    "    ",
    "<b>",
    "&amp;",
    "word ",
    "# ",
]
LINES = ["\n", "\n\n", "---\n", "```py\n", "\n```\n"]
TABLE = "| a | b |\n|---|---|\n| c |\n"
phrases = st.lists(st.sampled_from([*PHRASES, *LINES, TABLE]), max_size=40).map("".join)
markdown = st.text() | st.text(alphabet=MARKS, max_size=400) | phrases


@given(markdown)
@settings(max_examples=300)
@example("[a](https://x.example/" + "&" * 900 + ")")
def test_whatever_is_written_telegram_can_read(text: str) -> None:
    for found in texts(text):
        check(found)
        assert plain(found).strip()


@given(markdown, st.integers(min_value=1700, max_value=2500))
@settings(max_examples=50)
def test_no_limit_is_passed_and_no_word_is_lost_by_cutting(text: str, limit: int) -> None:
    pieces = pieces_of(text * 40)
    found = messages(pieces, limit=limit)
    assert all(utf16(one) <= limit for one in found)
    said = "".join("".join(piece.text for piece in pieces).split())
    assert "".join("".join(plain(one) for one in found).split()) == said


@given(
    st.text(alphabet=st.characters(exclude_categories=["P", "S", "Cs", "Nd", "Cc"]), max_size=300).map(
        lambda t: t * 30
    )
)
@settings(max_examples=50)
def test_plain_words_arrive_whole(text: str) -> None:
    got = "".join(html.unescape(plain(one)) for one in texts(text))
    assert "".join(got.split()) == "".join(text.split())


@given(
    st.from_regex(UNMARKED, fullmatch=True)
    | st.text(st.sampled_from("ab1.)(-+=#:!?'\"/ \n\n\u00a0😀"), max_size=60).filter(UNMARKED.fullmatch),
    st.integers(min_value=20, max_value=200),
)
@example(
    "Hello!\nYou wrote: 12) is not (1) here - or is it?\n\n2026 was 1.5 times as good; http://a.example/x", 40
)
@settings(deadline=None, max_examples=300)
def test_the_parser_finds_nothing_in_a_text_that_is_kept_from_it(text: str, limit: int) -> None:
    found = parsed(text)
    assert [piece.tags for piece in found if piece.tags] == []
    assert "".join(piece.text for piece in found) == text
    assert pieces_of(text) == [Piece(text)]
    assert messages(found, limit=limit) == messages([Piece(text)], limit=limit)


@given(markdown | st.text(st.sampled_from("ab <&\n\u00a0😀"), max_size=60), st.integers(20, 200))
@settings(deadline=None)
def test_what_fits_without_being_cut_is_what_the_cutting_would_make_of_it(text: str, limit: int) -> None:
    untagged = [piece._replace(tags=()) for piece in parsed(text)]
    atoms = [atom for piece in untagged for atom in markup._atoms(piece)]
    assert messages(untagged, limit=limit) == markup._cut(atoms, limit)


@pytest.mark.parametrize(
    "text",
    [
        *("*a*", "a_b", "`a`", "[a](b)", "a <b", "a & b", "a &amp; b", "~~a~~", "a\\b", "a|b"),
        *("# a", "- a", "+ a", "1. a", "12) a", "a\n===", "a\n---", "a\n- b", " a", "    a", "\ta", "a\tb"),
        *("a  \nb", "a ", "a\n\n\nb", "a\r\nb", "\na", "a\n", "", "a\x00b", "a\ud83c", "a\u00a0"),
    ],
)
def test_whatever_could_be_markup_goes_to_the_parser(text: str) -> None:
    assert not UNMARKED.fullmatch(text)
