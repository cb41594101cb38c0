"""Takes the pictures of the chat page: `python docs/images/make.py` beside a running Portico (`make up`)."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from portico.home import Home

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
PHONE = {"width": 375, "height": 720}
DESKTOP = {"width": 1120, "height": 720}
ASKED = {
    "en": ("What time is it in Tokyo?", "What is 17 × 23?", "What can you do?"),
    "zh": ("东京现在几点？", "17 × 23 等于多少？", "你能做什么？"),
}


def main() -> None:
    home = Home.from_environment()
    url = "http://" + json.loads(home.parts.read_bytes())["api"]["address"]
    key = home.cli_key.read_text().strip()
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        take(browser, login(url, key), "chat.png", ASKED["en"], locale="en-US", viewport=DESKTOP)
        take(
            browser,
            login(url, key),
            "chat-zh-phone.png",
            ASKED["zh"],
            locale="zh-CN",
            viewport=PHONE,
            color_scheme="dark",
            is_mobile=True,
        )
        browser.close()


def take(browser: Browser, link: str, name: str, asked: tuple[str, ...], **options: object) -> None:
    page = browser.new_context(device_scale_factor=2, **options).new_page()  # type: ignore[arg-type]
    page.goto(link)
    page.goto(page.url.split("#")[0] + f"#picture-{int(time.time())}")
    page.reload()
    expect(page.locator("html[data-ready]")).to_be_attached()
    for number, text in enumerate(asked):
        page.locator("#text").fill(text)
        page.keyboard.press("Enter")
        expect(page.locator(".line.reply:not(.draft)")).to_have_count(number + 1, timeout=30_000)
    expect(page.locator("#title")).to_have_text(asked[0])
    page.screenshot(path=HERE / name)


def login(url: str, key: str) -> str:
    request = urllib.request.Request(
        f"{url}/v1/login-links", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as response:
        return url + str(json.load(response)["path"])


if __name__ == "__main__":
    main()
