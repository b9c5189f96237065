"""TwitchIO with the vault's tokens: `bind(client, app)`, before the client logs in."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from twitchio import Client, HTTPException, InvalidTokenException
from twitchio.authentication import (
    ClientCredentialsPayload,
    RefreshTokenPayload,
    ValidateTokenPayload,
)
from twitchio.authentication.oauth import OAuth
from twitchio.authentication.tokens import ManagedHTTPClient

from twitchvault.errors import AuthFailure, NotAuthorized, WrongType
from twitchvault.integrations import bridge

if TYPE_CHECKING:
    from twitchio.http import Route
    from twitchio.types_.tokens import TokenMapping, TokenMappingData

    from twitchvault.app import App

__all__ = ["bind"]

TESTED: Final = ("3.3.0", "3.3.1", "3.3.2")
_UNAUTHORIZED: Final = 401


def bind(client: Client, app: App) -> None:
    """Let a `Client` or `Bot` use the vault's tokens; the vault alone refreshes and validates.

    Call it before the client logs in. From then on `client.tokens` shows the vault's users,
    `add_token` and `remove_token` change the vault, the app token is the vault's, and
    `event_token_refreshed` tells of every refresh, also of one in another process. TwitchIO saves
    no tokens any more; those that it saved before are added to the vault at login.
    """
    bridge.check_version("twitchio", TESTED)
    if not isinstance(client, Client):
        raise WrongType(f"'client' must be a twitchio.Client, not {type(client).__name__}")
    bridge.check_client(client.http.client_id, app)
    if client._login_called:  # noqa: SLF001
        msg = "the client is logged in already: call bind() before login() and start()"
        raise RuntimeError(msg)
    # The same object, as users and channels that were made before hold it.
    http = client.http
    http.__class__ = VaultHTTPClient
    cast("VaultHTTPClient", http).bind(app)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, HTTPException) and error.status == _UNAUTHORIZED


def _unauthorized(error: AuthFailure) -> HTTPException:
    return HTTPException(str(error), status=_UNAUTHORIZED, extra=str(error))


class VaultHTTPClient(ManagedHTTPClient):
    """TwitchIO's HTTP client, which asks the vault for tokens and has none of its own."""

    def bind(self, app: App) -> None:
        """Take the tokens from this app."""
        self._app = app
        self._following: asyncio.Task[None] | None = None

    # What TwitchIO reads and sets itself

    def _mappings(self) -> TokenMapping:
        """All who can be used; the bot's own is the first, which the device code mode takes."""
        known = dict(bridge.usable_tokens(self._app))
        known.pop(self._app.http.client_id, None)
        first = self._client.bot_id if self._client else None
        if first in known:
            known = {first: known[first], **known}
        return {user_id: self._mapping(user_id, *pair) for user_id, pair in known.items()}

    def _token_of_app(self) -> str | None:
        application = self._app.application
        return None if application is None else application.token

    _tokens: TokenMapping = bridge.from_vault(_mappings)
    _app_token: str | None = bridge.from_vault(_token_of_app)

    def _mapping(self, user_id: str, token: str, refresh: str | None) -> TokenMappingData:
        validated, _ = self._app.tokens_validity.get(user_id, (0.0, 0.0))
        moment = datetime.fromtimestamp(validated).isoformat()
        return {
            "user_id": user_id,
            "token": token,
            "refresh": refresh or "",
            "last_validated": moment,
        }

    # Requests

    async def request(self, route: Route) -> Any:  # noqa: ANN401 - as in TwitchIO
        """Send it with the token that stands; a refused one is renewed."""
        if route.use_id:
            return await OAuth.request(self, route)
        self._follow()
        owner = self._owner(route)
        if owner not in self._app.tokens:
            if owner and not self.client_secret:
                # Not as somebody else, and not without a token.
                msg = f"user {owner!r} is not in the vault: sign the user in first"
                raise _unauthorized(AuthFailure(msg))
            return await OAuth.request(self, route)

        async def send(token: str) -> Any:  # noqa: ANN401
            route.update_headers({"Authorization": f"Bearer {token}"})
            return await OAuth.request(self, route)

        try:
            return await bridge.with_renewals(self._app, owner, send, _is_refusal)
        except AuthFailure as error:
            raise _unauthorized(error) from error

    def _owner(self, route: Route) -> str:
        if route.token_for in self._app.tokens:
            return route.token_for
        if self.client_secret:
            return self._app.http.client_id
        if route.token_for not in {"", "None"}:  # TwitchIO makes a str of whatever it is given
            return route.token_for
        # In the device code mode the bot's own token, or the only one, stands for an app token.
        bot_id = self._client.bot_id if self._client else None
        users = [*self._tokens]
        return bot_id or (users[0] if len(users) == 1 else "")

    # Tokens

    async def client_credentials_token(self) -> ClientCredentialsPayload:
        """The vault's app token."""
        token = self._app_token
        if token is None:
            msg = "the vault has no app token: call 'await app.authorize()' before login()"
            raise NotAuthorized(msg)
        return ClientCredentialsPayload(
            {"access_token": token, "expires_in": 0, "token_type": "bearer"}
        )

    async def add_token(self, token: str, refresh: str) -> ValidateTokenPayload:
        """Put a pair into the vault, which validates it, and renews it if need be."""
        try:
            user = await bridge.call(self._app, self._app.add_user, token, refresh)
        except AuthFailure as error:
            original = _unauthorized(error)
            raise InvalidTokenException(str(error), type_="token", original=original) from error
        raw = {
            "client_id": self._app.http.client_id,
            "login": user.login,
            "scopes": list(user.scopes),
            "user_id": user.user_id,
            "expires_in": self._expires_in(user.user_id),
        }
        return ValidateTokenPayload(cast("Any", raw))

    def remove_token(self, user_id: str) -> TokenMappingData | None:
        """Take a user out of the vault."""
        pair = self._app.get_token(user_id)
        if pair is None:
            return None
        data = self._mapping(user_id, *pair)
        bridge.call_soon(self._app, self._app.remove_token, user_id)
        return data

    async def refresh_token(self, refresh_token: str, /) -> RefreshTokenPayload:
        """Exchange a refresh token through the vault."""
        token = await bridge.call(self._app, self._app.refresh_token, refresh_token)
        raw = {**token.model_dump(exclude={"raw"}), "scope": list(token.scopes)}
        return RefreshTokenPayload(cast("Any", raw))

    async def revoke_token(self, token: str, /) -> None:
        """Revoke a token; a vaulted one leaves the vault."""
        await bridge.call(self._app, self._app.revoke_token, token)

    def _expires_in(self, user_id: str) -> int:
        return int(self._app.tokens_validity.get(user_id, (0.0, 0.0))[1])

    # Life

    def _follow(self) -> None:
        if self._following is None or self._following.done():
            name = "twitchvault events for TwitchIO"
            self._following = asyncio.create_task(self._dispatch_refreshes(), name=name)

    async def _dispatch_refreshes(self) -> None:
        async for event in bridge.events(self._app):
            pair = self._app.tokens.get(event.user_id)
            is_user = event.user_id != self._app.http.client_id
            if event.kind == "refreshed" and is_user and pair is not None:
                raw = {
                    "access_token": pair[0],
                    "refresh_token": pair[1],
                    "expires_in": self._expires_in(event.user_id),
                    "scope": list(self._app.users_scopes.get(event.user_id, ())),
                    "token_type": "bearer",
                }
                self._dispatch_event(event.user_id, RefreshTokenPayload(cast("Any", raw)))

    async def close(self) -> None:
        """Close the connections; the vault stays open."""
        if self._following is not None:
            self._following.cancel()
        await super().close()

    async def save(self, name: str | None = None) -> None:
        """Save nothing: the vault has it."""
