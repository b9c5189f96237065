"""The commands: each module here is one, or a group of them, and has its name.

A module has a coroutine function `command` or, like `keys`, a `group`. An underscore at the end of
a module's name, as in `import_`, does not count.

Exit codes: 0, done; 1, somebody has to sign in; 2, it could not be done; 130, Ctrl-C; 141, the
reader of the output has gone.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from twitchvault.cli.console import say
from twitchvault.cli.options import as_command

commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,  # whose boxes wrap errors, in a pipe too
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"twitchvault {version('twitchvault')}")
        raise typer.Exit


@commands.callback()
def _about(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Sign Twitch users in and look after their tokens; no token is ever shown."""


for _module in pkgutil.iter_modules(__path__):
    _name = _module.name.rstrip("_")
    _found = import_module(f"{__name__}.{_module.name}")
    if group := getattr(_found, "group", None):
        commands.add_typer(group, name=_name)
    else:
        commands.command(_name)(as_command(_found.command))
