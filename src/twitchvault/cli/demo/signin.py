"""How the demo's two users sign in: one by each flow."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp

from twitchvault.cli.demo.place import DemoError
from twitchvault.cli.screen import show_login
from twitchvault.scopes import Scopes

if TYPE_CHECKING:
    from rich.console import Console

    from twitchvault.helix import UserAPI
    from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow

__all__ = ["CALLBACK", "by_code", "by_device"]

CALLBACK: Final = "http://localhost:3000/callback"
SCOPES: Final = (Scopes.USER_READ_CHAT, Scopes.USER_WRITE_CHAT)


async def by_device(flow: DeviceCodeFlow, console: Console) -> UserAPI:
    """The user opens an address on any screen; the double approves after a moment."""
    code = await flow.request_device_code(SCOPES)
    show_login(console, code)
    token = await flow.wait_for_device_token(code.device_code, interval=code.interval)
    return await flow.add_user(token.access_token, token.refresh_token)


async def by_code(flow: AuthorizationCodeGrantFlow, console: Console) -> UserAPI:
    """The user's browser goes to Twitch and comes back with a code, and with our state."""
    state = secrets.token_urlsafe()
    address = flow.get_authorization_url(CALLBACK, SCOPES, state)
    console.print(f"   The browser goes to  {address.partition('?')[0]}?...")
    answer = await _browse(address)
    if not secrets.compare_digest(answer.get("state", ""), state):
        msg = "the browser came back with a state that is not ours: somebody meddled with it"
        raise DemoError(msg)
    console.print(f"   and comes back to    {CALLBACK}?code=...&state=...")
    console.print("   The state is the one it left with, so the code is this user's own.")
    token = await flow.get_authorization_token(answer["code"], CALLBACK)
    return await flow.add_user(token.access_token, token.refresh_token)


async def _browse(address: str) -> dict[str, str]:
    """What the browser brings back; the double's user has consented already."""
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(address, allow_redirects=False) as response,
    ):
        back = urlsplit(response.headers.get("Location", ""))
    return {name: values[0] for name, values in parse_qs(back.query).items()}
