"""`twitchvault check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from twitchvault.app import API_URL, ID_URL, App
from twitchvault.cli.console import FAILED, NEEDS_LOGIN, run, warn
from twitchvault.cli.options import (
    ApiUrl,
    ClientId,
    IdUrl,
    KeyFile,
    Secret,
    Store,
    client_secret,
    required_client_id,
)
from twitchvault.cli.store import opened_store
from twitchvault.cli.users import StoredUser, read_users, show_users
from twitchvault.errors import AuthFailure, TwitchVaultError, Unauthorized

if TYPE_CHECKING:
    from twitchvault.helix import UserAPI

__all__ = ["command"]

Errors = dict[str, TwitchVaultError]


def command(
    client_id: ClientId = None,
    secret: Secret = False,
    store: Store = None,
    key_file: KeyFile = None,
    id_url: IdUrl = ID_URL,
    api_url: ApiUrl = API_URL,
) -> None:
    """Validate every user's token, renew it if need be, and say who has to sign in again."""
    application = required_client_id(client_id), client_secret(secret)

    async def check() -> tuple[list[StoredUser], Errors]:
        async with (
            opened_store(store, key_file) as opened,
            App(*application, store=opened, maintain=False, id_url=id_url, api_url=api_url) as app,
        ):
            errors = await _validate_all(app, await read_users(opened, app.http.client_id))
            await app.flush()
            return await read_users(opened, app.http.client_id), errors

    _report(*run(check()))


async def _validate_all(app: App, users: list[StoredUser]) -> Errors:
    """Validate every readable user; the errors that say nothing about the user's tokens."""
    errors: Errors = {}
    for user in users:
        if user.state == "damaged":
            continue
        try:
            await _validate(app.get_user_by_id(user.user_id))
        except TwitchVaultError as error:
            errors[user.user_id] = error
    return errors


async def _validate(user: UserAPI) -> None:
    try:
        await user.validate()
    except Unauthorized:
        try:
            await user.renew(user.token)
            await user.validate()
        except AuthFailure:
            return  # the user's state says so now


def _report(users: list[StoredUser], errors: Errors) -> None:
    show_users(users)
    for user_id, error in errors.items():
        warn(f"User {user_id!r} could not be checked: {error}")
    if errors:
        raise typer.Exit(FAILED)
    if lost := [user.name for user in users if user.state != "live"]:
        warn(f"Sign in again: {', '.join(lost)}")
        raise typer.Exit(NEEDS_LOGIN)
