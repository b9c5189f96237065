"""The authorization code: brought by a browser of this machine, or by an address that is pasted.

The browser is sent back to an address on this machine, where the command listens.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from contextlib import asynccontextmanager, suppress
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from twitchvault.cli.console import fail, say, unusable_port, warn
from twitchvault.cli.signing_in.keyboard import Keyboard, enter_opens
from twitchvault.errors import TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from twitchvault.helix import UserAPI
    from twitchvault.models import Token
    from twitchvault.oauth import AuthorizationCodeGrantFlow

_MINUTES: Final = 10
"""How long the browser may take to come back."""
_HOST: Final = "127.0.0.1"
_PATH: Final = "/callback"
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


class _Page(NamedTuple):
    """What the browser is shown; both texts are plain, not HTML."""

    heading: str
    text: str
    status: int = 400


_STRAY: Final = _Page(
    "Another login", "This belongs to another login, or to none. The one in the terminal waits on."
)
_USED: Final = _Page("Used already", "This login has come back before.")
_DENIED: Final = _Page(
    "Access denied", "The application gets no access. You can close this page.", 200
)
_ENDED: Final = _Page("Not signed in", "The command in the terminal has ended.", 503)


class _Callback:
    """One login, which comes back once, with the `state` that went out with it.

    `code` is the authorization code, once `is_back` is set; None if the user has refused.
    """

    def __init__(self) -> None:
        self.state = secrets.token_urlsafe(32)
        self.is_back = asyncio.Event()
        self.code: str | None = None
        self._last_page: asyncio.Future[_Page] = asyncio.get_running_loop().create_future()

    def conclude(self, page: _Page = _ENDED) -> None:
        """Say how the login ended, to the browser that waits for its page."""
        if not self._last_page.done():
            self._last_page.set_result(page)

    def take(self, query: Mapping[str, str]) -> _Page | None:
        """Take what came back; None for the code of this login, else what is to be said to it."""
        error = query.get("error")
        if not hmac.compare_digest(query.get("state", "").encode(), self.state.encode()):
            if error == "redirect_mismatch":  # which comes without a state
                warn("Twitch does not know the address above: register it for the application.")
            return _STRAY
        if self.is_back.is_set():
            return _USED
        self.code = None if error else query.get("code")
        if self.code or error == "access_denied":
            self.is_back.set()
            return None if self.code else _DENIED
        reason = query.get("error_description") or error or "the answer holds no code"
        warn(f"Twitch reports: {reason}")
        return _Page("Twitch reports an error", reason)

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
async def _listening(callback: _Callback, port: int) -> AsyncIterator[None]:
    """Serve the callback, to this machine alone; a page on its way still arrives at the end."""
    server = web.Application()
    # A HEAD request would use the state up, and show nobody a page.
    server.router.add_get(_PATH, callback.answer, allow_head=False)
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
        await web.TCPSite(runner, _HOST, port).start()
    except OSError as error:
        fail(f"{unusable_port(port, error)}, and register its address")


async def sign_in_by_code(
    flow: AuthorizationCodeGrantFlow,
    scopes: Sequence[str],
    port: int,
    paste: bool,
    keep: Callable[[Token], Awaitable[UserAPI]],
) -> UserAPI | None:
    """Sign a user in, and let `keep` have the tokens; None if the user has refused.

    The browser is told how that went.
    """
    address, callback = f"http://localhost:{port}{_PATH}", _Callback()
    url = flow.get_authorization_url(address, scopes, callback.state)
    say(f"This address must be registered for the application, at dev.twitch.tv: {address}")
    async with _pasted(callback, url, address) if paste else _waiting(callback, port, url):
        if callback.code is None:
            return None
        try:
            user = await keep(await flow.get_authorization_token(callback.code, address))
        except TwitchVaultError as error:
            callback.conclude(_Page("Not signed in", str(error), 502))
            raise
        callback.conclude(_Page("Signed in", f"As {user.login}. You can close this page.", 200))
        return user


@asynccontextmanager
async def _waiting(callback: _Callback, port: int, url: str) -> AsyncIterator[None]:
    async with _listening(callback, port):
        say(f"Open  {url}")
        async with enter_opens(url, Keyboard.of_a_person()):
            warn(f"Waiting for your browser, {_MINUTES} minutes at most ...")
            try:
                await asyncio.wait_for(callback.is_back.wait(), _MINUTES * 60)
            except TimeoutError:
                fail(f"no browser has come back within {_MINUTES} minutes")
        yield


@asynccontextmanager
async def _pasted(callback: _Callback, url: str, address: str) -> AsyncIterator[None]:
    """Ask for the address until one belongs to this login."""
    keyboard = Keyboard()
    say(f"Open  {url}")
    while not callback.is_back.is_set():
        warn("Then paste here the address that the browser shows in the end, and press Enter:")
        line = await keyboard.line()
        if line is None:
            fail("no address was pasted")
        page = callback.take(_query(line))
        if page is _STRAY:
            warn(
                f"That is not the address of this login: that begins with {address}?code= "
                "and ends with the state of the address above."
            )
        elif page is not None:
            warn(page.text)
    yield


def _query(url: str) -> dict[str, str]:
    with suppress(ValueError):
        return dict(parse_qsl(urlsplit(url).query))
    return {}
