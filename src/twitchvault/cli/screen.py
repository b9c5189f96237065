"""What a person sees of a login: an address, a code, and a picture of the address."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import segno
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from twitchvault.models import DeviceCode

__all__ = ["show_login"]

INDENT: Final = 3
_QUIET_ZONE: Final = 2


def show_login(console: Console, code: DeviceCode) -> None:
    """Print where the user signs in; with a QR code where there is a terminal to scan it from."""
    parts: list[RenderableType] = [Text.assemble("Open  ", (code.verification_uri, "bold"))]
    note = Text.assemble("Code  ", (code.user_code, "bold magenta"))
    parts.append(_beside_picture(code, note) if _can_draw(console) else note)
    console.print(Padding(Group(*parts), (0, 0, 0, INDENT)), soft_wrap=not console.is_terminal)


def _can_draw(console: Console) -> bool:
    return console.is_terminal and console.encoding.startswith("utf")


def _beside_picture(code: DeviceCode, note: Text) -> RenderableType:
    side = Group(note, Text(), Text("The picture is the same address,\nfor the camera of a phone."))
    grid = Table.grid(padding=(0, 3))
    grid.add_row(_picture(code.verification_uri), Padding(side, (1, 0)))
    return grid


def _picture(address: str) -> Text:
    out = io.StringIO()
    segno.make(address, error="l", micro=False).terminal(out, border=_QUIET_ZONE, compact=True)
    # Colours of its own, so that it can be read off a light terminal as well as off a dark one.
    return Text(out.getvalue().rstrip("\n"), style="#ffffff on #000000", no_wrap=True)
