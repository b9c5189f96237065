"""`twitchvault list`."""

from __future__ import annotations

from twitchvault.cli.console import run
from twitchvault.cli.options import ClientId, KeyFile, Store  # noqa: TC001 - typer reads them
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import StoredUser, read_users, show_users

__all__ = ["command"]


def command(client_id: ClientId = None, store: Store = None, key_file: KeyFile = None) -> None:
    """Show who is in the store; Twitch is not asked."""

    async def read() -> list[StoredUser]:
        async with opened_store(store, key_file) as opened:
            return await read_users(opened, client_id)

    show_users(run(read()))
