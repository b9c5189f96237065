"""pyTwitchAPI with the vault's tokens: `VaultTwitch(app, user_id, scopes)` instead of `Twitch`."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

from twitchAPI.twitch import Twitch
from twitchAPI.type import (
    InvalidTokenException,
    MissingAppSecretException,
    MissingScopeException,
    TwitchAPIException,
    TwitchBackendException,
    UnauthorizedException,
)

from twitchvault import inputs
from twitchvault.errors import (
    AuthFailure,
    TokenError,
    TwitchVaultError,
    Unauthorized,
    WrongEventLoop,
    WrongValue,
)
from twitchvault.helix.client import RENEWALS
from twitchvault.integrations import bridge

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from aiohttp import ClientResponse, ClientSession
    from twitchAPI.type import AuthScope, AuthType

    from twitchvault.app import App

__all__ = ["VaultTwitch"]

TESTED: Final = ("4.5.0",)
_UNAUTHORIZED: Final = 401
_logger = logging.getLogger(__name__)
_sent: ContextVar[tuple[str, str] | None] = ContextVar("_sent", default=None)
"""Whose token the request of this task was sent with, and the token."""


class VaultTwitch(Twitch):
    """A `Twitch` for one user of the vault, which alone refreshes and validates.

    `scopes`: what the user has granted, else awaiting it is a `MissingScopeException`; for a login
    name in the place of the id it is a `ValueError`. Further keywords are those of `Twitch`:
    `UserAuthenticator` needs `app_secret`. Chat and EventSub, which call from a thread, may be
    given it.
    """

    def __init__(
        self,
        app: App,
        user_id: str,
        scopes: Iterable[AuthScope],
        **options: Any,  # noqa: ANN401 - those of Twitch
    ) -> None:
        bridge.check_version("twitchAPI", TESTED)
        self._app = app
        self._user_id = inputs.user_id(user_id)
        self._reported = ""
        api_url = app._core.helix.api_url  # noqa: SLF001 - nobody else needs it
        super().__init__(app.http.client_id, **{"base_url": api_url, **options})
        self._user_auth_scope = list(scopes)
        self.auto_refresh_auth = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def _begin(self) -> Self:
        if not self._user_id.isdecimal() and self._user_id not in self._app.tokens:
            msg = "'user_id' takes a user's id, which is a number, and no login name: "
            raise WrongValue(msg + repr(self._user_id))
        self._check_scopes(self._user_auth_scope)
        if self._authenticate_app and self._app.application is not None:
            await self.authenticate_app(self._target_app_scope or [])
        return self

    def _check_scopes(self, scopes: Iterable[AuthScope]) -> None:
        granted = self._app.users_scopes.get(self._user_id)
        missing = [] if granted is None else [each for each in scopes if each.value not in granted]
        if missing:
            names = ", ".join(each.value for each in missing)
            msg = f"user {self._user_id!r} has not granted {names}: a new login is needed"
            raise MissingScopeException(msg)

    # What Twitch reads and sets itself

    def _token(self, owner: str) -> str | None:
        try:
            return bridge.token_of(self._app, owner) or None
        except AuthFailure as error:
            raise _as_theirs(error) from error

    _user_auth_token: str | None = bridge.from_vault(lambda self: self._token(self._user_id))
    _has_user_auth: bool = bridge.from_vault(lambda self: self._user_id in self._app.tokens)
    _app_auth_token: str | None = bridge.from_vault(lambda self: self._token(self.app_id))

    # Requests

    def _generate_header(self, auth_type: AuthType, required_scope: Any) -> dict[str, str]:  # noqa: ANN401
        header: dict[str, str] = super()._generate_header(auth_type, required_scope)
        token = header.get("Authorization", "").removeprefix("Bearer ")
        owner = self.app_id if token in self._app.tokens.get(self.app_id, ()) else self._user_id
        _sent.set((owner, token) if token else None)
        return header

    async def _check_request_return(
        self,
        session: ClientSession,
        response: ClientResponse,
        method: str,
        url: str,
        auth_type: AuthType,
        required_scope: Any,  # noqa: ANN401
        data: dict[str, Any] | None = None,
        retries: int = 1,
    ) -> ClientResponse:
        for _ in range(RENEWALS):
            sent = _sent.get()
            if response.status != _UNAUTHORIZED or sent is None:
                break
            if await self._renew(*sent) == sent[1]:
                break
            response.release()
            headers = self._generate_header(auth_type, required_scope)
            response = await session.request(method, url, headers=headers, json=data)
        return await super()._check_request_return(
            session, response, method, url, auth_type, required_scope, data, retries
        )

    async def _renew(self, owner: str, refused: str) -> str:
        try:
            token = await bridge.renew(self._app, owner, refused)
        except TwitchVaultError as error:
            raise _as_theirs(error) from error
        if owner == self._user_id:
            await self._report(refused, token)
        return token

    async def _report(self, refused: str, token: str) -> None:
        """Call `user_auth_refresh_callback` once for each new pair."""
        if token in (refused, self._reported) or self.user_auth_refresh_callback is None:
            return
        self._reported = token
        _, refresh_token = self._app.tokens.get(self._user_id, (token, None))
        await self.user_auth_refresh_callback(token, refresh_token or "")

    # Tokens

    async def refresh_used_token(self) -> None:
        """Renew the token that was sent last, if it is dead."""
        owner = self._user_id if self._has_user_auth else self.app_id
        await self._renew(*(_sent.get() or (owner, self._token(owner) or "")))

    async def authenticate_app(self, scope: list[AuthScope]) -> None:
        """Use the vault's app token."""
        if self.app_id not in self._app.tokens:
            msg = "the vault has no app token: authorize() gets one, but not for a public client"
            raise MissingAppSecretException(msg)
        self._app_auth_scope = scope
        self._has_app_auth = True

    async def set_user_authentication(
        self,
        token: str,
        scope: list[AuthScope],
        refresh_token: str | None = None,
        validate: bool = True,
    ) -> None:
        """Put a pair of this user into the vault; `ValueError` if it is another user's.

        The vault validates it in any case, and renews it if need be.
        """
        del validate
        try:
            owner = await self._owner(token)
            if owner == self._user_id:
                user = await bridge.call(self._app, self._app.add_user, token, refresh_token)
                owner = user.user_id
        except (AuthFailure, TokenError) as error:
            raise InvalidTokenException(str(error)) from error
        if owner != self._user_id:
            msg = f"the token is user {owner!r}'s, and this is the VaultTwitch of {self._user_id!r}"
            raise WrongValue(msg)
        self._check_scopes(scope)
        self._user_auth_scope = scope

    async def _owner(self, token: str) -> str:
        """Whose token it is; if it is dead, only the vault can find that out."""
        try:
            answer = await bridge.call(self._app, self._app.validate_token, token)
        except Unauthorized:
            return self._user_id
        return answer.user_id or self._user_id

    async def get_refreshed_user_auth_token(self) -> str | None:
        """The user's token, renewed if it is dead; Chat and EventSub connect with it."""
        return await self._refreshed(self._user_id)

    async def get_refreshed_app_token(self) -> str | None:
        """The app token, renewed if it is dead."""
        return await self._refreshed(self.app_id)

    async def _refreshed(self, owner: str) -> str | None:
        token = self._token(owner)
        if token is None:
            return None
        try:
            return await self._renew(owner, token)
        except TwitchAPIException as error:
            if not isinstance(error.__cause__, WrongEventLoop):
                raise
            # Chat waits for this while its start() blocks the vault's loop: go on, and say so.
            _logger.warning("the token was not validated: %s", error.__cause__)
            return token


def _as_theirs(error: TwitchVaultError) -> TwitchAPIException:
    """The error that pyTwitchAPI and its sockets know."""
    if isinstance(error, AuthFailure | TokenError):
        return UnauthorizedException(str(error))
    return TwitchBackendException(str(error))
