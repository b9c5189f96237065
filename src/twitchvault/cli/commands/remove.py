"""`twitchvault remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from twitchvault.app import ID_URL, LEASE_TTL
from twitchvault.cli.console import fail, out, run
from twitchvault.cli.options import ClientId, KeyFile, Store  # noqa: TC001 - typer reads them
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import StoredUser, read_users
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.vault.vault import Vault

if TYPE_CHECKING:
    from twitchvault.stores import TokenStore

__all__ = ["command"]


def command(
    user: Annotated[str, typer.Argument(help="A user's id or login name.")],
    client_id: ClientId = None,
    store: Store = None,
    key_file: KeyFile = None,
) -> None:
    """Remove a user's tokens from the store; nothing is revoked at Twitch."""

    async def remove() -> StoredUser:
        async with opened_store(store, key_file) as opened:
            found = _only_one(user, await read_users(opened, client_id))
            await _remove(found, opened)
            return found

    gone = run(remove())
    out.print(Text(f"Removed {gone.name} ({gone.user_id}) of application {gone.client_id}."))
    out.print("The tokens still live at Twitch: the user can disconnect the application there.")


async def _remove(user: StoredUser, store: TokenStore) -> None:
    """Let the vault do it, which remembers spent tokens; an `App` would ask Twitch first."""
    http = HTTPClient(client_id=user.client_id)
    identity = Identity(http, user.client_id, None, ID_URL)
    vault = Vault(store, identity, maintain=False, lease_ttl=LEASE_TTL)
    await vault.open()
    try:
        vault.remove(user.user_id)
        await vault.flush()
    finally:
        await vault.close()


def _only_one(name: str, users: list[StoredUser]) -> StoredUser:
    found = [user for user in users if name in {user.user_id, user.name}]
    if not found:
        fail(f"no user {name!r} in the store; 'twitchvault list' shows who is there")
    if len(found) > 1:
        clients = ", ".join(user.client_id for user in found)
        fail(f"{name!r} has tokens of several applications: add --client-id ({clients})")
    return found[0]
