"""`twitchvault validate`."""

from __future__ import annotations

from twitchvault.cli.options import AppOptions, EveryUser, Json, OneUser  # noqa: TC001 - for typer
from twitchvault.cli.report import validate, work_and_report


async def command(
    options: AppOptions, user: OneUser = None, every: EveryUser = False, json: Json = False
) -> None:
    """Ask Twitch whether a user's access token is good.

    One that is not is renewed.
    """
    await work_and_report(options, user, every, json, "Validating", validate)
