"""The chat page's shell. What is said in it comes and goes between browser and edge (`static/chat.js`)."""

from __future__ import annotations

from nicegui import ui

HEAD = """
<meta name="robots" content="noindex">
<meta name="theme-color" content="#faf9f6" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#181715" media="(prefers-color-scheme: dark)">
<script src="/console/static/theme.js"></script>
<link rel="stylesheet" href="/console/static/chat.css">
<link rel="modulepreload" href="/console/static/connection.js">
<link rel="modulepreload" href="/console/static/view.js">
<link rel="modulepreload" href="/console/static/markdown.js">
<link rel="modulepreload" href="/console/static/words.js">
<script type="module" src="/console/static/chat.js"></script>
"""


def page() -> None:
    """Header, drawer, log and composer. Words and icons are put in by the page in the reader's language."""
    ui.add_head_html(HEAD)
    with _element("div", "id=chat"):
        _drawer()
        with _element("div", "id=stage"):
            _header()
            _log()
            _composer()


def _element(tag: str, props: str = "") -> ui.element:
    return ui.element(tag).props(props)


def _button(id: str, *, icon: str, word: str = "", label: str = "") -> None:
    """A button with an icon; `word` is its visible text, `label` its name where it has none."""
    named = f" data-label={label}" if label else ""
    with _element("button", f"id={id} type=button data-icon={icon}{named}"):
        if word:
            _element("span", f"data-word={word}")


def _drawer() -> None:
    with _element("nav", "id=drawer data-label=conversations"):
        with _element("div", "class=brand"):
            _element("span", "class=mark data-icon=mark aria-hidden=true")
            _element("span", "class=name data-word=product")
            _button("drawer-close", icon="close", label="close")
        _button("new", icon="plus", word="new_conversation")
        _element("ul", "id=conversations")
        with _element("div", "class=tools"):
            _button("theme", icon="theme_system", word="theme_system")
            _button("language", icon="language", word="other_language")
            _button("sign-out", icon="leave", word="sign_out")
    _element("div", "id=veil")


def _header() -> None:
    with _element("header"):
        _button("drawer-open", icon="menu", label="conversations")
        _element("h1", "id=title")
        _element("p", "id=state role=status aria-live=polite")


def _log() -> None:
    with _element("main", "id=scroll tabindex=-1"):
        with _element("section", "id=welcome hidden"):
            _element("span", "class=mark data-icon=mark aria-hidden=true")
            _element("h2", "data-word=welcome")
            _element("p", "data-word=welcome_more")
            _element("div", "id=suggestions role=group data-label=try_this")
        with _element("div", "class=center"):
            _button("earlier", icon="up", word="earlier")
        _element("div", "id=log role=log aria-live=polite data-label=log")
        _element("section", "id=offer role=status aria-live=polite hidden")
        _element("p", "id=waiting role=status aria-live=polite hidden")
    _button("bottom", icon="down", label="to_bottom")


def _composer() -> None:
    with _element("form", "id=composer"):
        _element("p", "id=refused role=alert hidden")
        _element("ul", "id=files data-label=attached_files hidden")
        with _element("div", "class=box"):
            _button("attach", icon="attach", label="attach")
            _element("input", "id=file type=file multiple hidden tabindex=-1")
            _element("textarea", "id=text rows=1 data-label=message data-placeholder=message maxlength=32000")
            _button("stop", icon="stop", label="stop")
            _button("send", icon="send", label="send")
        _element("p", "class=hint data-word=hint")
