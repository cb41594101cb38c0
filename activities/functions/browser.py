# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "markdownify>=1.2",
#   "playwright>=1.56",
#   "pydantic>=2.12",
# ]
# ///
"""A browser for sites that the owner has named: read, seen, printed, downloaded from, and used.

Each call starts a fresh Chromium as a user without rights; it reaches nothing but through the egress proxy.
"""

from __future__ import annotations

import asyncio
import posixpath
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, Field

from activities.functions import browser_chromium as chromium
from activities.functions import browser_page as pages
from activities.functions.files import add
from portico.tool import AskAgain, ToolContext, ToolFailed, tool

LONGEST_PIECE = 40_000
LARGEST_DOWNLOAD = 100 * 1024 * 1024
WHOLE_S = 150
STARTING_S = 4.0
TALLEST = 12_000
WHY_NOT = chromium.missing()

Url = Annotated[str, Field(min_length=8, max_length=4000, pattern=r"^https?://")]
SavePath = Annotated[str, Field(max_length=1000)]


class Step(BaseModel):
    """One thing that is done on the page."""

    action: Literal["click", "fill", "press", "select", "check", "wait"]
    target: str = Field(
        "", max_length=300, description="label, text or placeholder as a person sees it, or css=…"
    )
    value: str = Field(
        "", max_length=5000, description="what to fill in, the key to press, the option to select"
    )


@tool(effects="read", risk="low", timeout_s=WHOLE_S, network="sites", concurrency=2, unavailable=WHY_NOT)
async def browser_read(
    context: ToolContext, url: Url, offset: Annotated[int, Field(ge=0)] = 0
) -> dict[str, Any]:
    """Open a web page and read it as Markdown, with its links and fields.

    Args:
        url: its address
        offset: the character to begin with, for a page that is too long to be read at once
    """
    async with chromium.opened(context) as page:
        await pages.go(context, page, url)
        return await _read(page, offset)


@tool(effects="read", risk="low", timeout_s=WHOLE_S, network="sites", concurrency=2, unavailable=WHY_NOT)
async def browser_screenshot(context: ToolContext, url: Url, full_page: bool = False) -> dict[str, Any]:
    """Take a picture of a web page.

    Args:
        url: its address
        full_page: all of it, not only the upper part
    """
    async with chromium.opened(context) as page:
        await pages.go(context, page, url)
        return await _seen(context, page, full_page=full_page)


@tool(effects="read", risk="low", timeout_s=WHOLE_S, network="sites", concurrency=2, unavailable=WHY_NOT)
async def browser_pdf(context: ToolContext, url: Url, save_as: SavePath = "") -> dict[str, Any]:
    """Print a web page to a PDF.

    Args:
        url: its address
        save_as: path in the workspace; empty for an attachment of the answer only
    """
    async with chromium.opened(context) as page:
        await pages.go(context, page, url)
        return await _printed(context, page, save_as)


@tool(effects="read", risk="low", timeout_s=WHOLE_S, network="sites", concurrency=2, unavailable=WHY_NOT)
async def browser_download(
    context: ToolContext, url: Url, click: Annotated[str, Field(max_length=300)] = "", save_as: SavePath = ""
) -> dict[str, Any]:
    """Download a file into the workspace: the address itself, or what a link or button of the page leads to.

    Args:
        url: address of the file, or of the page
        click: the link or button on the page; empty where the address is the file
        save_as: path in the workspace; empty for the file's own name
    """
    async with chromium.opened(context) as page:
        name, data = (
            await _clicked(context, page, url, click) if click else await _fetched(context, page, url)
        )
    written = add(context.workspace, save_as or name, data)
    return {"text": f"{written.path}, {written.size_bytes} bytes", "path": written.path}


@tool(effects="write", risk="medium", timeout_s=WHOLE_S, network="sites", concurrency=2, unavailable=WHY_NOT)
async def browser_act(
    context: ToolContext,
    url: Url,
    steps: Annotated[list[Step], Field(min_length=1, max_length=30)],
    result: Literal["read", "screenshot", "pdf"] = "read",
) -> dict[str, Any]:
    """Use a web page: open it, click, fill in, select, press keys, and tell what then is to be seen.

    Args:
        url: its address
        steps: what is done, in this order
        result: how the last page is told
    """
    async with chromium.opened(context) as page:
        await pages.go(context, page, url)
        for number, step in enumerate(steps):
            context.raise_if_cancelled()
            context.progress(f"{step.action} {step.target}".strip(), number / len(steps))
            await pages.do(page, step.action, step.target, step.value)
        if result == "read":
            return await _read(page, 0)
        return await (_seen(context, page) if result == "screenshot" else _printed(context, page, ""))


@tool(effects="write", risk="low", timeout_s=30, repeatable=True)
def browser_forget(context: ToolContext) -> str:
    """Forget the person's cookies and logins at all sites that the browser visited."""
    return "forgotten" if chromium.forget(context) else "there was nothing to forget"


async def _read(page: Any, offset: int) -> dict[str, Any]:
    text = await pages.markdown(page)
    piece = text[offset : offset + LONGEST_PIECE]
    end = offset + len(piece)
    return {
        "text": piece,
        "url": page.url,
        "title": await page.title(),
        "next_offset": end if end < len(text) else None,
    }


async def _seen(context: ToolContext, page: Any, *, full_page: bool = False) -> dict[str, Any]:
    height = await page.evaluate("document.documentElement.scrollHeight")
    if full_page and height > TALLEST:
        raise AskAgain(f"the page is {height} pixels tall; {TALLEST} fit into one picture")
    context.artifact("page.png", await page.screenshot(full_page=full_page), "image/png")
    return {"text": f"{await page.title()} ({page.url})", "url": page.url, "artifact": "page.png"}


async def _printed(context: ToolContext, page: Any, save_as: str) -> dict[str, Any]:
    data = await page.pdf(format="A4", print_background=True)
    told = {"text": f"{await page.title()} ({page.url})", "url": page.url}
    if save_as:
        return {**told, "path": add(context.workspace, save_as, data).path}
    context.artifact("page.pdf", data, "application/pdf")
    return {**told, "artifact": "page.pdf"}


async def _clicked(context: ToolContext, page: Any, url: str, click: str) -> tuple[str, bytes]:
    from playwright.async_api import TimeoutError as TookTooLong

    await pages.go(context, page, url)
    context.progress(f"downloading {click}")
    try:
        async with page.expect_download(timeout=STARTING_S * 2000) as waiting:
            await pages.do(page, "click", click, "")
        return await _saved(await waiting.value)
    except TookTooLong:
        raise AskAgain(f"{click!r} led to no download") from None


async def _fetched(context: ToolContext, page: Any, url: str) -> tuple[str, bytes]:
    """A browser shows some files and downloads others: both come to the same here."""
    started: asyncio.Queue[Any] = asyncio.Queue()
    page.on("download", started.put_nowait)
    try:
        response = await pages.go(context, page, url)
    except ToolFailed as failed:
        response, why = None, failed
    else:
        why = ToolFailed("the address holds nothing")
    if response is None or not started.empty():
        try:
            return await _saved(await asyncio.wait_for(started.get(), STARTING_S))
        except TimeoutError:
            raise why from None
    return _checked(
        posixpath.basename(unquote(urlsplit(page.url).path)) or "page.html", await response.body()
    )


async def _saved(download: Any) -> tuple[str, bytes]:
    if await download.failure():
        raise ToolFailed("the download broke off")
    path = Path(await download.path())
    if path.stat().st_size > LARGEST_DOWNLOAD:
        raise ToolFailed(f"the file is larger than {LARGEST_DOWNLOAD // 1024**2} MiB")
    return _checked(download.suggested_filename, path.read_bytes())


def _checked(name: str, data: bytes) -> tuple[str, bytes]:
    if len(data) > LARGEST_DOWNLOAD:
        raise ToolFailed(f"the file is larger than {LARGEST_DOWNLOAD // 1024**2} MiB")
    return posixpath.basename(name.replace("\\", "/"))[-120:] or "download", data
