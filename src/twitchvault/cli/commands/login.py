"""`twitchvault login`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Final

import typer

from twitchvault.cli.checks.twitch import ask_about_client, check_client, is_passing
from twitchvault.cli.console import NEEDS_LOGIN, fail, say, warn
from twitchvault.cli.options import AppOptions, Json  # noqa: TC001 - typer reads them
from twitchvault.cli.signing_in.code import sign_in_by_code
from twitchvault.cli.signing_in.device import device_token
from twitchvault.cli.store import make_app, opened_store
from twitchvault.cli.users import one_user, read_users, show_users
from twitchvault.errors import AuthFailure, HTTPException
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow
from twitchvault.oauth.granted import with_retries

if TYPE_CHECKING:
    from twitchvault.app import App
    from twitchvault.helix import UserAPI
    from twitchvault.models import Token

PORT: Final = 17563
_Port = Annotated[
    int,
    typer.Option(
        metavar="PORT", min=1, max=65535, help="With --code: where to wait for the browser."
    ),
]


async def command(
    options: AppOptions,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="A scope to ask for; may be repeated.")
    ] = None,
    code: Annotated[
        bool, typer.Option("--code", help="By a browser on this machine, not by device code.")
    ] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="By a browser elsewhere: you paste its last address.")
    ] = False,
    port: _Port = PORT,
    expect: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only this user may sign in: an id or a login name."),
    ] = None,
    json: Json = False,
) -> None:
    """Sign a user in, and store the tokens.

    By device code, or in a browser with --code.
    """
    scopes = " ".join(scope or []).split()
    async with opened_store(options, make=True) as store, make_app(options, store) as app:

        async def keep(token: Token) -> UserAPI:
            await _check_user(app, token, expect)
            return await with_retries(lambda: app.add_user(token.access_token, token.refresh_token))

        await _check_client(options, app, by_code=code or paste)
        with redirect_stdout(sys.stderr if json else sys.stdout):
            if code or paste:
                flow = AuthorizationCodeGrantFlow.from_app(app)
                user = await sign_in_by_code(flow, scopes, port, paste, keep)
            else:
                token = await device_token(DeviceCodeFlow.from_app(app), scopes)
                user = None if token is None else await keep(token)
        if user is None:
            warn("The user has refused, and nothing is stored.")
            raise typer.Exit(NEEDS_LOGIN)
        if json:
            await app.flush()
            users = await read_users(store, options.client_id)
            show_users([one_user(user.user_id, users)], options, json)
        else:
            say(f"Signed in: {user.login} ({user.user_id}).")
        if missing := sorted(set(scopes) - set(user.scopes)):
            warn(f"Not granted: {' '.join(missing)}")


async def _check_client(options: AppOptions, app: App, *, by_code: bool) -> None:
    """End the command if the secret is missing or wrong: the tokens would live some hours."""
    if by_code and options.client_secret is None:
        fail(
            "a login by authorization code needs the client secret: use --secret, or set "
            "TWITCHVAULT_CLIENT_SECRET"
        )
    answer = await ask_about_client(app.http, options)
    if answer is None or is_passing(answer):
        return
    check = check_client(answer, options)
    if check.state == "problem":
        fail(f"{check.text}; {check.advice}")


async def _check_user(app: App, token: Token, expected: str | None) -> None:
    """Revoke the token and raise if it is another user's."""
    if expected is None:
        return
    user = await with_retries(lambda: app.validate_token(token.access_token))
    if expected.lower() in {user.user_id, (user.login or "").lower()}:
        return
    try:
        await app.revoke_token(token.access_token)
        what = "the token was revoked"
    except HTTPException as error:
        what = f"the token could not be revoked ({error})"
    raise AuthFailure(
        f"{user.login} ({user.user_id}) has signed in, not {expected!r}: {what}, and nothing is "
        "stored"
    )
