"""What the commands share that do something for each user and say how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from twitchvault.cli import FAILED
from twitchvault.cli.console import NEEDS_LOGIN, in_our_words, warn
from twitchvault.cli.store import make_app, opened_store
from twitchvault.cli.users import StoredUser, chosen_users, for_each, read_users, show_users
from twitchvault.errors import AuthFailure, TwitchVaultError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.cli.options import AppOptions
    from twitchvault.helix import UserAPI


async def work_and_report(
    options: AppOptions,
    name: str | None,
    every: bool,
    json: bool,
    text: str,
    work: Callable[[UserAPI], Awaitable[object]],
) -> None:
    """Do `work` for one user or every user, and show them as they are afterwards.

    Exit code 2 if it failed for somebody, 1 if somebody of them has to sign in.
    """
    async with opened_store(options) as store, make_app(options, store) as app:
        refused: set[str] = set()

        async def attempt(user: StoredUser) -> None:
            try:
                await work(app.get_user_by_id(user.user_id))
            except AuthFailure:
                refused.add(user.user_id)

        before = chosen_users(name, every, await read_users(store, options.client_id))
        readable = [user for user in before if user.state != "damaged"]
        errors = await for_each(text, readable, attempt)
        await app.flush()
        chosen = {user.user_id for user in before}
        after = await read_users(store, options.client_id)
    users = [user for user in after if user.user_id in chosen]
    if json or users:
        show_users(users, options, json)
    fail_if_any(errors, before)
    if lost := [u.name for u in users if u.state != "live" or u.user_id in refused]:
        warn(f"Sign in again: {', '.join(lost)}")
        raise typer.Exit(NEEDS_LOGIN)


def fail_if_any(errors: dict[str, TwitchVaultError], users: list[StoredUser]) -> None:
    """Name each user for whom something failed, and why; exit code 2 if there is one."""
    for user in users:
        if error := errors.get(user.user_id):
            warn(f"twitchvault: {user.name} ({user.user_id}): {in_our_words(str(error))}")
    if errors:
        raise typer.Exit(FAILED)


async def validate(user: UserAPI) -> None:
    """Ask Twitch whether the user's access token is good, and renew it if it is not."""
    try:
        await user.validate()
    except Unauthorized:
        await user.renew(user.token)
        await user.validate()
