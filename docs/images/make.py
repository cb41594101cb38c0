"""Takes the pictures of the chat page and of a history, on a stack of its own: `python docs/images/make.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.console.conftest import chromium, login_path
from tests.support import RunningStack

HERE = Path(__file__).parent
PHONE = ViewportSize(width=375, height=800)
DESKTOP = ViewportSize(width=1120, height=760)
WIDE = ViewportSize(width=1340, height=1500)
BEFORE = ("Say hello", "What is (19 + 23) * 7?", "What day is it in Sydney?")
ASKED = {
    "en": ("What time is it in Tokyo?", "What is 17 × 23?", "What can you do?"),
    "zh": ("东京现在几点？", "17 × 23 等于多少？", "你能做什么？"),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        stack = RunningStack(Path(home))
        stack.start()
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            take_desktop(browser, stack)
            take_phone(browser, stack)
            take_history(browser, stack)
        finally:
            browser.close()
            stack.stop()


def take_desktop(browser: Browser, stack: RunningStack) -> None:
    page = browser.new_page(locale="en-US", viewport=DESKTOP, device_scale_factor=2)
    page.goto(stack.url + login_path(stack))
    for number, text in enumerate(BEFORE):
        ask(page, stack, f"before-{number}", (text,))
    ask(page, stack, "picture", ASKED["en"])
    page.screenshot(path=HERE / "chat.png")


def take_phone(browser: Browser, stack: RunningStack) -> None:
    page = browser.new_page(
        locale="zh-CN", viewport=PHONE, device_scale_factor=2, color_scheme="dark", is_mobile=True
    )
    page.goto(stack.url + login_path(stack))
    ask(page, stack, "phone", ASKED["zh"])
    page.screenshot(path=HERE / "chat-zh-phone.png")


def take_history(browser: Browser, stack: RunningStack) -> None:
    """One turn's steps, as the history UI lists them."""
    page = browser.new_page(locale="en-US", viewport=WIDE, device_scale_factor=1.5)
    page.goto(stack.url + login_path(stack))
    ask(page, stack, "history", ("What time is it in Oslo?",))
    with page.context.expect_page() as opened:
        page.locator("a", has_text="history").last.click()
    history = opened.value
    history.set_viewport_size(WIDE)
    history.get_by_text("Event History").first.click()
    history.get_by_text("Compact").first.click()
    expect(history.get_by_text("deliver the reply").first).to_be_visible(timeout=30_000)
    box = history.get_by_role("heading", name="Event History").last.bounding_box()
    assert box is not None
    history.screenshot(
        path=HERE / "history.png", clip={"x": box["x"] - 18, "y": box["y"] - 10, "width": 1050, "height": 500}
    )


def ask(page: Page, stack: RunningStack, name: str, asked: tuple[str, ...]) -> None:
    page.goto(f"{stack.url}/#{name}")
    page.reload()
    expect(page.locator("html[data-ready]")).to_be_attached(timeout=15_000)
    for number, text in enumerate(asked):
        page.locator("#text").fill(text)
        page.keyboard.press("Enter")
        expect(page.locator(".line.reply:not(.draft)")).to_have_count(number + 1, timeout=30_000)
    expect(page.locator("#title")).to_have_text(asked[0], timeout=10_000)


if __name__ == "__main__":
    main()
