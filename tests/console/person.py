"""What a person does at the chat page and sees there."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

REPLY_WITHIN_MS = 30_000


class ChatPage:
    """One window. Collects what the page asked for and what it complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def enter(self, name: str) -> None:
        """Open a conversation by its name, as its address does."""
        self.page.goto(f"{self.url}/#{name}")
        self.page.reload()
        self.wait_ready()

    def wait_ready(self) -> None:
        expect(self.page.locator("html[data-ready]")).to_be_attached(timeout=15_000)

    def say(self, text: str) -> None:
        self.page.locator("#text").fill(text)
        self.page.keyboard.press("Enter")

    def ask(self, text: str) -> str:
        """Say it and wait for one more reply than there was."""
        before = self.replies.count()
        self.say(text)
        return self.reply(before)

    def reply(self, number: int) -> str:
        expect(self.replies.nth(number)).to_be_visible(timeout=REPLY_WITHIN_MS)
        return self.replies.nth(number).locator(".markdown").first.inner_text()

    @property
    def replies(self) -> Locator:
        return self.page.locator(".line.reply:not(.draft)")

    @property
    def said(self) -> list[str]:
        return self.page.locator(".line.user .said").all_inner_texts()

    def stored(self, name: str) -> list[dict[str, Any]]:
        """The conversation as the edge has it."""
        response = self.page.request.get(f"{self.url}/v1/conversations/{name}/messages?limit=200")
        lines: list[dict[str, Any]] = response.json()
        return lines
