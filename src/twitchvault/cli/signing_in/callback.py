"""The address on this machine to which Twitch sends the browser back."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from contextlib import asynccontextmanager
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from twitchvault.cli.console import fail, unusable_port, warn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["STRAY", "Callback", "Page", "listening", "redirect_uri"]

HOST: Final = "127.0.0.1"
PATH: Final = "/callback"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
_HTML: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading} - twitchvault</title>
<style>
:root{{color-scheme:light dark}}
body{{max-width:32rem;margin:4rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}}
</style>
<h1>{heading}</h1>
<p>{text}</p>
</html>
"""


class Page(NamedTuple):
    """What the browser is shown; both texts are plain, not HTML."""

    heading: str
    text: str
    status: int = 400


STRAY: Final = Page(
    "Another login", "This belongs to another login, or to none. The one in the terminal waits on."
)
_USED: Final = Page("Used already", "This login has come back before.")
_DENIED: Final = Page(
    "Access denied", "The application gets no access. You can close this page.", 200
)
_ENDED: Final = Page("Not signed in", "The command in the terminal has ended.", 503)


def redirect_uri(port: int) -> str:
    """The address that has to be registered in Twitch's developer console."""
    return f"http://localhost:{port}{PATH}"


class Callback:
    """One login, which comes back once, with the `state` that went out with it.

    `code` is the authorization code, once `is_back` is set; None if the user has refused.
    """

    def __init__(self) -> None:
        self.state = secrets.token_urlsafe(32)
        self.is_back = asyncio.Event()
        self.code: str | None = None
        self._last_page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

    def conclude(self, page: Page = _ENDED) -> None:
        """Say how the login ended, to the browser that waits for its page."""
        if not self._last_page.done():
            self._last_page.set_result(page)

    def take(self, query: Mapping[str, str]) -> Page | None:
        """Take what came back; None for the code of this login, else what is to be said to it."""
        error = query.get("error")
        if not hmac.compare_digest(query.get("state", "").encode(), self.state.encode()):
            if error == "redirect_mismatch":  # which comes without a state
                warn("Twitch does not know the address above: register it for the application.")
            return STRAY
        if self.is_back.is_set():
            return _USED
        self.code = None if error else query.get("code")
        if self.code or error == "access_denied":
            self.is_back.set()
            return None if self.code else _DENIED
        reason = query.get("error_description") or error or "the answer holds no code"
        warn(f"Twitch reports: {reason}")
        return Page("Twitch reports an error", reason)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer the browser; that of this login once it has ended."""
        page = self.take(request.query)
        if page is None:
            page = await asyncio.shield(self._last_page)
        text = _HTML.format(heading=escape(page.heading), text=escape(page.text))
        return web.Response(
            status=page.status, text=text, content_type="text/html", headers=_HEADERS
        )


@asynccontextmanager
async def listening(callback: Callback, port: int) -> AsyncIterator[None]:
    """Serve the callback, to this machine alone; a page on its way still arrives at the end."""
    server = web.Application()
    # A HEAD request would use the state up, and show nobody a page.
    server.router.add_get(PATH, callback.answer, allow_head=False)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await _listen(runner, port)
        yield
    finally:
        callback.conclude()
        await runner.cleanup()


async def _listen(runner: web.AppRunner, port: int) -> None:
    try:
        await web.TCPSite(runner, HOST, port).start()
    except OSError as error:
        fail(f"{unusable_port(port, error)}, and register its address")
