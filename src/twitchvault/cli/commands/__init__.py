"""The commands: each module here is one and has its name; its function `command` carries it out.

Exit codes: 0, done; 1, somebody has to sign in; 2, it could not be done.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import typer

__all__ = ["commands"]

commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@commands.callback()
def _about() -> None:
    """Sign Twitch users in and look after their tokens; no token is ever shown."""


for _module in pkgutil.iter_modules(__path__):
    commands.command(_module.name)(import_module(f"{__name__}.{_module.name}").command)
