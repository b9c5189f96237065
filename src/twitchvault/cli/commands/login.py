"""`twitchvault login`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Final

import segno
import typer
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from twitchvault.cli.console import out, warn
from twitchvault.cli.options import AppOptions  # noqa: TC001 - typer reads it
from twitchvault.cli.store import opened_app, opened_store
from twitchvault.oauth import DeviceCodeFlow

if TYPE_CHECKING:
    from rich.console import RenderableType

    from twitchvault.models import DeviceCode

__all__ = ["command"]

INDENT: Final = 3
QUIET_ZONE: Final = 2


async def command(
    options: AppOptions,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Repeat it for several.")
    ] = None,
) -> None:
    """Sign a user in by device code and store the tokens."""
    async with (
        opened_store(options, make=True) as store,
        opened_app(options, store, DeviceCodeFlow) as flow,
    ):
        await _sign_in(flow, " ".join(scope or []).split())


async def _sign_in(flow: DeviceCodeFlow, scopes: list[str]) -> None:
    code = await flow.request_device_code(scopes)
    _show(code)
    out.print(f"Waiting for you, {code.expires_in // 60} minutes at most ...")
    token = await flow.wait_for_device_token(
        code.device_code, interval=code.interval, timeout=code.expires_in
    )
    user = await flow.add_user(token.access_token, token.refresh_token)
    out.print(Text(f"Signed in: {user.login} ({user.user_id})."))
    if missing := sorted(set(scopes) - set(user.scopes)):
        warn(f"Not granted: {' '.join(missing)}")


def _show(code: DeviceCode) -> None:
    """Print where the user signs in; with a QR code if a terminal can show one."""
    address = Text.assemble("Open  ", (code.verification_uri, "bold"))
    user_code: RenderableType = Text.assemble("Code  ", (code.user_code, "bold magenta"))
    if out.is_terminal and out.encoding.startswith("utf"):
        user_code = _beside_qr_code(code.verification_uri, user_code)
    out.print(Padding.indent(Group(address, user_code), INDENT))


def _beside_qr_code(address: str, user_code: RenderableType) -> RenderableType:
    hint = "The picture is the same address,\nfor the camera of a phone."
    grid = Table.grid(padding=(0, 3))
    grid.add_row(_qr_code(address), Padding(Group(user_code, Text(), Text(hint)), (1, 0)))
    return grid


def _qr_code(address: str) -> Text:
    text = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(text, border=QUIET_ZONE, compact=True)
    # Colours of its own, so that a light terminal shows it as well as a dark one.
    return Text(text.getvalue().rstrip("\n"), style="#ffffff on #000000", no_wrap=True)
