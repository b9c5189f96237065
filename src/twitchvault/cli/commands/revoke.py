"""`twitchvault revoke`."""

from __future__ import annotations

from twitchvault.app import App
from twitchvault.cli.console import say
from twitchvault.cli.options import AppOptions, EveryUser, OneUser  # noqa: TC001 - for typer
from twitchvault.cli.report import fail_if_any
from twitchvault.cli.store import opened_app, opened_store
from twitchvault.cli.users import StoredUser, chosen_users, for_each, read_users

__all__ = ["command"]


async def command(options: AppOptions, user: OneUser = None, every: EveryUser = False) -> None:
    """Revoke a user's access token, and remove the user.

    Twitch ends the token, and the store forgets the pair.
    """
    async with opened_store(options) as store, opened_app(options, store, App) as app:

        async def revoke(user: StoredUser) -> None:
            await app.get_user_by_id(user.user_id).revoke()

        users = chosen_users(user, every, await read_users(store, options.client_id))
        errors = await for_each("Revoking", users, revoke)
    for gone in users:
        if gone.user_id not in errors:
            say(f"Removed {gone.name} ({gone.user_id}), whose token no longer works.")
    fail_if_any(errors, users)
