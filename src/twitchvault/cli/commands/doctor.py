"""`twitchvault doctor`."""

from __future__ import annotations

import logging
import platform
import sqlite3
from importlib.metadata import version
from typing import Final

import typer
from rich.text import Text

from twitchvault.cli import FAILED
from twitchvault.cli.checks import Check
from twitchvault.cli.checks.store import check_store
from twitchvault.cli.checks.twitch import check_twitch
from twitchvault.cli.console import at_terminal, out, printable, say_json, say_row
from twitchvault.cli.options import AppOptions, Json  # noqa: TC001 - typer reads them
from twitchvault.cli.store import store_name

_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "bold red"}


async def command(options: AppOptions, json: Json = False) -> None:
    """Look at the store, the keys, the clock and the client.

    What is not as it should be comes with what to do.
    """
    logging.disable()  # the checks say the same
    checks = [_versions(), *await check_store(options), *await check_twitch(options)]
    if json:
        say_json({"store": store_name(options), "checks": [one._asdict() for one in checks]})
    else:
        for one in checks:
            _show(one)
    if any(one.state == "problem" for one in checks):
        raise typer.Exit(FAILED)


def _versions() -> Check:
    text = f"twitchvault {version('twitchvault')}, Python {platform.python_version()}, "
    text += f"aiohttp {version('aiohttp')}, SQLite {sqlite3.sqlite_version}"
    return Check("versions", "ok", text)


def _show(one: Check) -> None:
    if not at_terminal():
        say_row(one.state, one.name, one.text, one.advice)
        return
    line = Text.assemble((f"{one.state:9}", _COLOURS[one.state]), f"{one.name:13}")
    line.append(printable(one.text))
    if one.advice:
        line.append(f"\n{'':22}{printable(one.advice)}", "bold")
    out.print(line, soft_wrap=True)
