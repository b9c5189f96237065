"""`twitchvault check`."""

from __future__ import annotations

from twitchvault.cli.options import AppOptions, EveryUser, Json, OneUser  # noqa: TC001 - for typer
from twitchvault.cli.report import validate, work_and_report


async def command(
    options: AppOptions, user: OneUser = None, every: EveryUser = False, json: Json = False
) -> None:
    """Say who has to sign in again, by asking Twitch.

    It does what `validate` does, for every user unless one is named.
    """
    every = every or user is None
    await work_and_report(options, user, every, json, "Checking", validate)
