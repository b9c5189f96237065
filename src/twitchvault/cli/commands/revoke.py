"""`twitchvault revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault.cli.console import in_our_words, say
from twitchvault.cli.options import AppOptions, EveryUser, Json, OneUser  # noqa: TC001 - for typer
from twitchvault.cli.report import fail_if_any
from twitchvault.cli.results import Result, show_results
from twitchvault.cli.store import make_app, opened_store
from twitchvault.cli.users import StoredUser, chosen_users, for_each, read_users

if TYPE_CHECKING:
    from twitchvault.errors import TwitchVaultError


async def command(
    options: AppOptions, user: OneUser = None, every: EveryUser = False, json: Json = False
) -> None:
    """Revoke a user's access token, and remove the user.

    Twitch ends the token, and the store forgets the pair.
    """
    async with opened_store(options) as store, make_app(options, store) as app:

        async def revoke(user: StoredUser) -> None:
            await app.get_user_by_id(user.user_id).revoke()

        users = chosen_users(user, every, await read_users(store, options.client_id))
        errors = await for_each("Revoking", users, revoke)
    if json:
        show_results([_result(gone, errors.get(gone.user_id)) for gone in users], options, json)
    for gone in [] if json else users:
        if gone.user_id not in errors:
            say(f"Removed {gone.name} ({gone.user_id}), whose token no longer works.")
    fail_if_any(errors, users)


def _result(user: StoredUser, error: TwitchVaultError | None) -> Result:
    if error is None:
        return user.became("removed")
    return user.became("failed", in_our_words(str(error)))
