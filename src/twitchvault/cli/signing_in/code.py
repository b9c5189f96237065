"""The authorization code: brought by a browser of this machine, or by an address that is pasted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from twitchvault.cli.console import fail, say, warn
from twitchvault.cli.signing_in.callback import STRAY, Callback, Page, listening, redirect_uri
from twitchvault.cli.signing_in.keyboard import Keyboard, enter_opens
from twitchvault.errors import TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from twitchvault.helix import UserAPI
    from twitchvault.models import Token
    from twitchvault.oauth import AuthorizationCodeGrantFlow

__all__ = ["sign_in_by_code"]

_MINUTES: Final = 10
"""How long the browser may take to come back."""


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
    address, callback = redirect_uri(port), Callback()
    url = flow.get_authorization_url(address, scopes, callback.state)
    say(f"This address must be registered for the application, at dev.twitch.tv: {address}")
    async with _pasted(callback, url, address) if paste else _waiting(callback, port, url):
        if callback.code is None:
            return None
        try:
            user = await keep(await flow.get_authorization_token(callback.code, address))
        except TwitchVaultError as error:
            callback.conclude(Page("Not signed in", str(error), 502))
            raise
        callback.conclude(Page("Signed in", f"As {user.login}. You can close this page.", 200))
        return user


@asynccontextmanager
async def _waiting(callback: Callback, port: int, url: str) -> AsyncIterator[None]:
    async with listening(callback, port):
        say(f"Open  {url}")
        async with enter_opens(url, Keyboard.of_a_person()):
            warn(f"Waiting for your browser, {_MINUTES} minutes at most ...")
            try:
                await asyncio.wait_for(callback.is_back.wait(), _MINUTES * 60)
            except TimeoutError:
                fail(f"no browser has come back within {_MINUTES} minutes")
        yield


@asynccontextmanager
async def _pasted(callback: Callback, url: str, address: str) -> AsyncIterator[None]:
    """Ask for the address until one belongs to this login."""
    keyboard = Keyboard()
    say(f"Open  {url}")
    while not callback.is_back.is_set():
        warn("Then paste here the address that the browser shows in the end, and press Enter:")
        line = await keyboard.line()
        if line is None:
            fail("no address was pasted")
        page = callback.take(_query(line))
        if page is STRAY:
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
