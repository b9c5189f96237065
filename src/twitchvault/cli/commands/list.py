"""`twitchvault list`."""

from __future__ import annotations

from twitchvault.cli.options import Json, StoreOptions  # noqa: TC001 - typer reads them
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import read_users, show_users


async def command(options: StoreOptions, json: Json = False) -> None:
    """Show who is in the store; Twitch is not asked."""
    async with opened_store(options) as store:
        users = await read_users(store, options.client_id)
    show_users(users, options, json)
