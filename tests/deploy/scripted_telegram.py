"""The scripted Bot API as a container: `python -m tests.deploy.scripted_telegram`. `/seen` tells what it was sent."""

from __future__ import annotations

import threading

from aiohttp import web

from tests.fakes.telegram import FakeTelegram

PORT = 8081


class Served(FakeTelegram):
    def routes(self, app: web.Application) -> None:
        app.router.add_get("/seen", self._seen)
        super().routes(app)

    async def _seen(self, request: web.Request) -> web.Response:
        return web.json_response([{"chat": one.chat, "text": one.text} for one in list(self.messages)])


def main() -> None:
    served = Served(port=PORT)
    served.host = "0.0.0.0"
    with served:
        threading.Event().wait()


if __name__ == "__main__":
    main()
