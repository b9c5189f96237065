"""`twitchvault remove`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from twitchvault.app import ID_URL, LEASE_TTL
from twitchvault.cli.console import progress, say, warn
from twitchvault.cli.options import EveryUser, Json, OneUser, StoreOptions  # noqa: TC001 - for typer
from twitchvault.cli.results import show_results
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import chosen_users, read_users
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores import TokenStore


async def command(
    options: StoreOptions, user: OneUser = None, every: EveryUser = False, json: Json = False
) -> None:
    """Remove a user from the store; nothing is revoked at Twitch."""
    async with opened_store(options) as store:
        users = chosen_users(user, every, await read_users(store, options.client_id))
        with progress("Removing", len(users)) as step:
            for client_id, group in groupby(users, key=lambda user: user.client_id):
                await _remove(client_id, [user.user_id for user in group], store, step)
    if json:
        show_results([gone.became("removed") for gone in users], options, json)
    for gone in [] if json else users:
        say(f"Removed {gone.name} ({gone.user_id}) of application {gone.client_id}.")
    if users:
        warn("The tokens still live at Twitch: users can disconnect the application there.")


async def _remove(
    client_id: str, user_ids: list[str], store: TokenStore, step: Callable[[], None]
) -> None:
    """Let the vault do it, which remembers spent tokens; an `App` would ask Twitch first."""
    identity = Identity(HTTPClient(client_id=client_id), client_id, None, ID_URL)
    vault = Vault(store, identity, maintain=False, lease_ttl=LEASE_TTL)
    await vault.open()
    try:
        for user_id in user_ids:
            vault.remove(user_id)
            await vault.flush()
            step()
    finally:
        await vault.close()
