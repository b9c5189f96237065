"""The device code: shown at a terminal, and waited for until the user has approved."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import segno
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from twitchvault.cli.console import at_terminal, count, fail, least_width, out, printable, warn
from twitchvault.cli.signing_in.keyboard import Keyboard, enter_opens
from twitchvault.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from twitchvault.models import DeviceCode, Token
    from twitchvault.oauth import DeviceCodeFlow

_INDENT: Final = 3
_QUIET_ZONE: Final = 2
_HINT: Final = "The picture is the same address,\nfor the camera of a phone."
_SHORTEST_INTERVAL: Final = 1
_LIFETIME: Final = 300
"""Seconds that a code is waited for if Twitch does not say how long it is good."""


async def device_token(flow: DeviceCodeFlow, scopes: Sequence[str]) -> Token | None:
    """The tokens, once the user has approved; None if the user has refused.

    A code that expires is followed by another one if there is somebody to ask for it.
    """
    keyboard = Keyboard.of_a_person()
    while True:
        code = await flow.request_device_code(scopes)
        lifetime = code.expires_in or _LIFETIME
        _show(code)
        try:
            async with enter_opens(code.verification_uri, keyboard):
                warn(f"Waiting for you, {count(max(lifetime // 60, 1), 'minute')} at most ...")
                interval = max(code.interval, _SHORTEST_INTERVAL)
                return await flow.wait_for_device_token(code.device_code, interval, lifetime)
        except (BadRequest, TimeoutError) as error:
            if isinstance(error, BadRequest) and error.error_code == "access_denied":
                return None
            if keyboard is None:
                raise
        warn("This code has expired. Press Enter for a new one, Ctrl-C to stop.")
        if await keyboard.line() is None:
            fail("the code has expired")


def _show(code: DeviceCode) -> None:
    """Print where the user signs in; with a QR code if the terminal has room for one."""
    address = Text.assemble("   Open  ", (printable(code.verification_uri), "bold"))
    user_code = Text.assemble("Code  ", (printable(code.user_code), "bold magenta"))
    out.print(address, soft_wrap=True)
    if at_terminal() and out.encoding.startswith("utf"):
        with suppress(segno.DataOverflowError):  # an address that is too long for one
            picture = _beside_qr_code(code.verification_uri, user_code)
            if least_width(picture) <= out.width:
                out.print(picture)
                return
    out.print(Padding.indent(user_code, _INDENT))


def _beside_qr_code(address: str, user_code: Text) -> RenderableType:
    hint = Text(_HINT, no_wrap=True)
    grid = Table.grid(padding=(0, 3))
    grid.add_row("", _qr_code(address), Padding(Group(user_code, Text(), hint), (1, 0)))
    return grid


def _qr_code(address: str) -> Text:
    text = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(text, border=_QUIET_ZONE, compact=True)
    # Colours of its own, so that a light terminal shows it as well as a dark one.
    return Text(text.getvalue().rstrip("\n"), style="#ffffff on #000000", no_wrap=True)
