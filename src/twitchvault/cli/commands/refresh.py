"""`twitchvault refresh`."""

from __future__ import annotations

from twitchvault.cli.options import AppOptions, EveryUser, Json, OneUser  # noqa: TC001 - for typer
from twitchvault.cli.report import work_and_report
from twitchvault.helix import UserAPI


async def command(
    options: AppOptions, user: OneUser = None, every: EveryUser = False, json: Json = False
) -> None:
    """Exchange a user's refresh token now.

    Running programs go on with the new pair.
    """
    await work_and_report(options, user, every, json, "Refreshing", UserAPI.refresh)
