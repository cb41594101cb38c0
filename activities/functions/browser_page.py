"""What is done on a page, and how it is read. Part of `browser`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from activities.functions.browser_chromium import LISTED
from portico.tool import AskAgain, ToolContext, ToolFailed

MOST_FIELDS = 60
LONGEST_PAGE = 400_000
SETTLE_MS = 5_000
VISIBLE = """() => {
  const gone = new Set(['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE', 'SVG', 'IFRAME', 'OBJECT', 'EMBED']);
  const hidden = [...document.body.querySelectorAll('*')].filter(one =>
    gone.has(one.tagName.toUpperCase()) || !one.checkVisibility({visibilityProperty: true, opacityProperty: true}));
  hidden.forEach(one => one.setAttribute('data-portico-hidden', ''));
  const copy = document.body.cloneNode(true);
  hidden.forEach(one => one.removeAttribute('data-portico-hidden'));
  copy.querySelectorAll('[data-portico-hidden]').forEach(one => one.remove());
  copy.querySelectorAll('a[href]').forEach(one => one.setAttribute('href', one.href));
  return copy.innerHTML;
}"""
FIELDS = """() => [...document.querySelectorAll('input,select,textarea,button')]
  .filter(one => one.type !== 'hidden' && one.checkVisibility())
  .map(one => [one.tagName.toLowerCase() === 'input' ? one.type : one.tagName.toLowerCase(),
    (one.labels?.[0]?.innerText || one.getAttribute('aria-label') || one.placeholder || one.name
      || one.innerText || one.value || '').trim().slice(0, 80)])"""


async def go(context: ToolContext, page: Any, url: str) -> Any:
    """Open an address; the response. Raises `ToolFailed` where it is not allowed or does not answer."""
    from playwright.async_api import Error

    if urlsplit(url).scheme not in ("http", "https"):
        raise AskAgain("the address begins with http:// or https://")
    context.progress(f"opening {urlsplit(url).hostname}")
    try:
        response = await page.goto(url, wait_until="domcontentloaded")
    except Error as error:
        raise ToolFailed(f"{urlsplit(url).hostname}: {_why(error.message)}") from None
    await refuse(response)
    await settle(page)
    return response


async def refuse(response: Any) -> None:
    """Over plain HTTP the proxy's refusal looks like a page."""
    if response is not None and (await response.all_headers()).get("portico-egress") == "refused":
        raise ToolFailed(f"{(await response.text()).strip()[:250]}{LISTED}")


async def settle(page: Any) -> None:
    """A page that goes on loading is taken as it is after some seconds."""
    from playwright.async_api import TimeoutError as TookTooLong

    try:
        await page.wait_for_load_state("networkidle", timeout=SETTLE_MS)
    except TookTooLong:
        return


async def markdown(page: Any) -> str:
    """What a person would see, and what can be filled and pressed."""
    from markdownify import markdownify

    html = await page.evaluate(VISIBLE)
    text = markdownify(html[:LONGEST_PAGE], heading_style="ATX", strip=["img"]).strip()
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", text))
    fields = (await page.evaluate(FIELDS))[:MOST_FIELDS]
    listed = "\n".join(f"- {kind}: {name}" for kind, name in fields if name)
    return f"# {await page.title()}\n{page.url}\n\n{text}" + (f"\n\n## Fields\n{listed}" if listed else "")


async def do(page: Any, action: str, target: str, value: str) -> None:
    """One step. Raises `AskAgain` where the target is not there."""
    from playwright.async_api import Error

    if action == "wait":
        await page.wait_for_timeout(1_000)
        return
    found = await _find(page, action, target)
    try:
        if action == "click":
            await found.click()
        elif action == "fill":
            await found.fill(value)
        elif action == "press":
            await found.press(value or "Enter")
        elif action == "select":
            await found.select_option(label=value)
        else:
            await found.check()
    except Error:
        raise AskAgain(
            f"{action} {target!r} did not work: it is hidden, covered or of another kind"
        ) from None
    await settle(page)


async def _find(page: Any, action: str, target: str) -> Any:
    """By label, role, placeholder or text, as a person would name it; `css=…` for what has no name."""
    if target.startswith("css="):
        candidates = [page.locator(target)]
    else:
        fields = [
            page.get_by_label(target, exact=True),
            page.get_by_label(target),
            page.get_by_placeholder(target),
        ]
        roles = [
            page.get_by_role(role, name=target) for role in ("button", "link", "tab", "menuitem", "checkbox")
        ]
        texts = [page.get_by_text(target, exact=True), page.get_by_text(target)]
        candidates = [*roles, *texts, *fields] if action == "click" else [*fields, *roles]
        candidates.append(
            page.locator(f'[name="{target}"]') if re.fullmatch(r"[\w.-]+", target) else fields[0]
        )
    for candidate in candidates:
        if await candidate.count():
            return candidate.first
    raise AskAgain(f"there is no {target!r} on the page; browser_read lists its fields and links")


def _why(message: str) -> str:
    if "ERR_TUNNEL_CONNECTION_FAILED" in message or "ERR_PROXY" in message:
        return f"it is not among the sites that may be opened, or cannot be reached{LISTED}"
    if "Download is starting" in message or "ERR_ABORTED" in message:
        return "it is a file, not a page; browser_download fetches it"
    if "imeout" in message:
        return "it did not answer in time"
    found = re.search(r"net::(ERR_[A-Z_]+)", message)
    return f"it cannot be opened ({found[1]})" if found else "it cannot be opened"
