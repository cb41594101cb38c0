"""Replies are CommonMark and never HTML, whoever wrote them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.support import RunningStack

pytestmark = pytest.mark.alone

RENDER = """async (texts) => {
  const { renderMarkdown } = await import("/console/static/markdown.js");
  return texts.map((text) => {
    const root = document.createElement("div");
    root.append(renderMarkdown(text));
    const nodes = [...root.querySelectorAll("*")];
    return {
      html: root.innerHTML,
      text: root.textContent,
      tags: [...new Set(nodes.map((node) => node.localName))],
      attributes: [...new Set(nodes.flatMap((node) => node.getAttributeNames()))],
      links: nodes.filter((node) => node.localName === "a").map((node) => node.href),
    };
  });
}"""
TAGS = {
    *("p", "h3", "h4", "h5", "h6", "hr", "blockquote", "ul", "ol", "li", "pre", "code", "br"),
    *("em", "strong", "s", "a", "span", "div", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"href", "target", "rel", "class", "start", "tabindex", "data-language"}
HOSTILE = [
    "<script>window.broken = 1</script>",
    '<img src=x onerror="window.broken = 1">',
    "[press](javascript:alert(1))",
    "[press](JaVaScRiPt:alert`1`)",
    "[press]( javascript:alert(1))",
    "[press](data:text/html,<script>alert(1)</script>)",
    "[press](//evil.example)",
    "<javascript:alert(1)>",
    "![x](https://evil.example/pixel.png)",
    '[a](https://example.org/"onmouseover="alert(1))',
    "```html onload=alert(1)\n<b>x</b>\n```",
    "&lt;script&gt;",
    "[[[[[[[[" * 300,
    "*_" * 2000,
    "> " * 500 + "deep",
    "- " * 500 + "deep",
    "`" * 3001,
    "|" * 2000 + "\n" + "|-" * 1000,
]


@pytest.fixture
def page(stack: RunningStack, make_context: Callable[..., BrowserContext]) -> Page:
    page = make_context().new_page()
    page.goto(stack.url)
    return page


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "**bold** and *em* and `a<b`",
            "<p><strong>bold</strong> and <em>em</em> and <code>a&lt;b</code></p>",
        ),
        ("snake_case_name and 2*3*4", "<p>snake_case_name and 2<em>3</em>4</p>"),
        ("# One\n## Two", "<h3>One</h3><h4>Two</h4>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
        ("a  \nb", "<p>a<br>b</p>"),
        ("\\*no\\*", "<p>*no*</p>"),
        ("---", "<hr>"),
        ("<b>no</b>", "<p>&lt;b&gt;no&lt;/b&gt;</p>"),
        ("你好**世界**！", "<p>你好<strong>世界</strong>！</p>"),
        ("    x = 1", '<pre tabindex="0"><code>x = 1</code></pre>'),
    ],
)
def test_reads_commonmark(page: Page, text: str, html: str) -> None:
    assert page.evaluate(RENDER, [text])[0]["html"] == html


def test_keeps_code_as_it_is(page: Page) -> None:
    found = page.evaluate(RENDER, ["```python\nif a < b:\n\n    print('*x*')\n```\nafter"])[0]
    assert found["text"] == "if a < b:\n\n    print('*x*')after"


def test_links_open_elsewhere_and_tell_nothing(page: Page) -> None:
    html = page.evaluate(RENDER, ["see https://example.org/a_(b)?c=d. [x](mailto:a@b.example)"])[0]["html"]
    assert html.count('rel="noopener noreferrer nofollow"') == 2
    assert 'href="mailto:a@b.example"' in html


def test_hostile_text_stays_text(page: Page) -> None:
    for found in page.evaluate(RENDER, HOSTILE):
        _is_harmless(found)
    assert page.evaluate("window.broken") is None


def test_any_text_is_rendered_quickly_and_harmlessly(page: Page) -> None:
    chosen = random.Random(1)
    pieces = [*"*_`~[]()<>#-+|>!\\\n\n 1.a:\"'&é中", "https://a.b", "javascript:", "<script>", "```", "    "]
    texts = ["".join(chosen.choices(pieces, k=chosen.randrange(1, 400))) for _ in range(400)]
    for text, found in zip(texts, page.evaluate(RENDER, texts), strict=True):
        _is_harmless(found)
        assert {*"é中"} & {*text} <= {*json.dumps(found, ensure_ascii=False)}


def _is_harmless(found: dict[str, list[str]]) -> None:
    assert set(found["tags"]) <= TAGS
    assert set(found["attributes"]) <= ATTRIBUTES
    assert all(link.startswith(("http://", "https://", "mailto:")) for link in found["links"])
