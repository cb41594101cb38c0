"""Chromium for one call: as a user without rights, in its own sandbox, with the egress proxy as its only way out.

Cookies and the like of a person lie in the workspace, encrypted as everything there; no profile stays on the disk.
Part of `browser`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from activities.functions.files import HIDDEN
from portico.tool import ToolContext, ToolFailed

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START = Path(__file__).with_name("chromium.sh")
UID = 60_901
"""Belongs to nobody: outside of what systems give to people and services."""
PROFILE = f"{HIDDEN}browser.state"
LISTED = " (the owner lists them in [tools] sites)"
LARGEST_PROFILE = 5 * 1024 * 1024
STEP_MS = 15_000
PAGE_MS = 45_000
VIEW = {"width": 1280, "height": 900}
FLAGS = (
    "--disable-quic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--dns-prefetch-disable",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # names are the proxy's business
    "--no-pings",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)


def missing() -> str:
    """Why there is no browser here, in one line; nothing where there is one."""
    if program() is None:
        return "Chromium is missing: sudo apt install chromium"
    return "" if shutil.which("setpriv") else "setpriv is missing: sudo apt install util-linux"


def program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@asynccontextmanager
async def opened(context: ToolContext) -> AsyncIterator[Any]:
    """A page of a fresh browser with the person's cookies; what the sites set is kept for the next call."""
    from playwright.async_api import Error, async_playwright

    if why := missing():
        raise ToolFailed(why)
    if not context.proxy_url:
        raise ToolFailed(f"no site may be opened{LISTED}")
    context.progress("starting the browser")
    folder = _folder(context.scratch)
    try:
        async with async_playwright() as playwright:
            try:
                browser = await playwright.chromium.launch(**_options(context.proxy_url, folder))
            except Error:
                raise ToolFailed(
                    "Chromium does not start here; its own sandbox needs user namespaces"
                ) from None
            try:
                async with _session(context, browser) as page:
                    yield page
            finally:
                await browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _session(context: ToolContext, browser: Any) -> AsyncIterator[Any]:
    session = await browser.new_context(
        storage_state=_profile(context),
        accept_downloads=True,
        service_workers="block",
        viewport=VIEW,
        locale=context.language,
    )
    session.set_default_timeout(STEP_MS)
    session.set_default_navigation_timeout(PAGE_MS)
    yield await session.new_page()
    state = json.dumps(await session.storage_state()).encode()
    if len(state) <= LARGEST_PROFILE and state != json.dumps({"cookies": [], "origins": []}).encode():
        context.workspace.write(PROFILE, state)


def forget(context: ToolContext) -> bool:
    """Whether there was anything to forget."""
    if not context.workspace.exists(PROFILE):
        return False
    context.workspace.delete(PROFILE)
    return True


def _profile(context: ToolContext) -> dict[str, Any] | None:
    if not context.workspace.exists(PROFILE):
        return None
    try:
        state: dict[str, Any] = json.loads(context.workspace.read(PROFILE))
    except ValueError:
        return None
    return state


def _options(proxy_url: str, folder: Path) -> dict[str, Any]:
    proxy = urlsplit(proxy_url)
    return {
        "executable_path": str(START),
        "chromium_sandbox": True,
        "headless": True,
        "args": list(FLAGS),
        "downloads_path": str(folder / "downloads"),
        "proxy": {
            "server": f"http://{proxy.hostname}:{proxy.port}",
            "username": proxy.username or "",
            "password": proxy.password or "",
        },
        "env": {
            "BROWSER": program() or "",
            "BROWSER_UID": str(UID) if os.geteuid() == 0 else "",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "home"),
            "LANG": "C.UTF-8",
        },
    }


def _folder(scratch: Path) -> Path:
    """What the browser may write: below the call's own folder, into which its user only gets by name."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    for each in (folder / "downloads", folder / "home"):
        each.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(each, UID, UID)
    if os.geteuid() == 0:
        for each in (folder, *folder.parents, Path(tempfile.gettempdir())):
            facts = each.stat()
            if facts.st_uid == 0 and not facts.st_mode & 0o001:
                each.chmod(facts.st_mode | 0o001)
    return folder
