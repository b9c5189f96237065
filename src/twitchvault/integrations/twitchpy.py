"""twitch.py with the vault's tokens: `bind(client, app)`, before the client is authorized."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from twitchvault.errors import AuthFailure, NotAuthorized, WrongType, WrongValue
from twitchvault.integrations import bridge

if sys.version_info < (3, 12):
    msg = "twitch.py needs Python 3.12 or later, and so does twitchvault.integrations.twitchpy"
    raise ImportError(msg)

import twitch  # pyright: ignore[reportMissingImports]
from twitch.http import HTTPClient  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitch.http import Route  # pyright: ignore[reportMissingImports]

    from twitchvault.app import App
    from twitchvault.vault.events import VaultEvent

__all__ = ["bind"]

TESTED: Final = ("4.0.4",)


def bind(client: twitch.App, app: App) -> None:
    """Let a `ClientApp` or `ClientUser` use the vault's tokens; the vault alone refreshes.

    Call it before the client is authorized. From then on `client.tokens` shows the vault's,
    `add_user`, `add_token` and `remove_token` change the vault, the app token is the vault's, and
    `on_token_update` tells of every refresh, also of one in another process.
    """
    bridge.check_version("twitch.py", TESTED)
    if not isinstance(client, twitch.App):
        raise WrongType(f"'client' must be a twitch.py client, not {type(client).__name__}")
    bridge.check_client(client.http.client_id, app)
    if app._core.identity.public:  # noqa: SLF001 - nobody else needs it
        msg = "twitch.py needs an app token, and a public client has none: give the App its secret"
        raise WrongValue(msg)
    if client.tokens:
        msg = "the client has tokens already: call bind() before authorize() and start()"
        raise RuntimeError(msg)
    # The same object, as the client's parts hold it.
    client.http.__class__ = VaultHTTPClient
    cast("VaultHTTPClient", client.http).bind(app)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, twitch.Unauthorized)


class VaultHTTPClient(HTTPClient):  # type: ignore[misc]
    """twitch.py's HTTP client, which asks the vault for tokens and has none of its own."""

    def bind(self, app: App) -> None:
        """Take the tokens from this app."""
        self._app = app
        self._events: AsyncIterator[VaultEvent] | None = None

    # What twitch.py reads

    @property
    def _tokens(self) -> Any:  # noqa: ANN401 - as twitch.py has it
        return bridge.usable_tokens(self._app)

    @property
    def _token_scopes(self) -> Any:  # noqa: ANN401
        return self._app.users_scopes

    @property
    def tokens_validity(self) -> Any:  # noqa: ANN401
        """As the vault knows it."""
        return self._app.tokens_validity

    # Requests

    async def request(
        self,
        route: Route,
        *,
        user_id: str | None = None,
        auth: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Send it with the token that stands; a refused one is renewed."""
        send = partial(super().request, route, user_id=user_id, auth=auth, **options)
        if not auth or user_id is None or user_id not in self._app.tokens:
            return await send()
        try:
            return await bridge.with_renewals(self._app, user_id, lambda _: send(), _is_refusal)
        except AuthFailure as error:
            raise twitch.Unauthorized(SimpleNamespace(status=401), str(error)) from error

    # Tokens

    async def authorize(self, token: str | None) -> Any:  # noqa: ANN401
        """Use the vault's app token, whatever `token` is."""
        application = self._app.application
        if application is None:
            msg = "the vault has no app token: call 'await app.authorize()' before the client's"
            raise NotAuthorized(msg)
        del token
        token = await bridge.renew(self._app, self.client_id, application.token)
        return await super().authorize(token)

    async def add_user(self, *, access_token: str, refresh_token: str | None = None) -> Any:  # noqa: ANN401
        """Put a pair into the vault, which validates it, and renews it if need be."""
        try:
            user = await bridge.call(self._app, self._app.add_user, access_token, refresh_token)
        except AuthFailure as error:
            raise twitch.AuthFailure(str(error)) from error
        return user.user_id, None

    def add_token(self, *, user_id: str, access_token: str, refresh_token: str | None) -> None:
        """Put a pair into the vault, unseen; the app token is there already."""
        if user_id != self.client_id:
            bridge.call_soon(self._app, self._app.add_token, user_id, access_token, refresh_token)

    def remove_token(self, *, user_id: str) -> None:
        """Take a user out of the vault."""
        bridge.call_soon(self._app, self._app.remove_token, user_id)

    async def refresh_token(self, token: str) -> Any:  # noqa: ANN401
        """Exchange a refresh token through the vault."""
        answer = await bridge.call(self._app, self._app.refresh_token, token)
        return {**answer.raw, **answer.model_dump(exclude={"raw", "scopes"})}

    async def revoke_token(self, token: str) -> None:
        """Revoke a token; a vaulted one leaves the vault."""
        await bridge.call(self._app, self._app.revoke_token, token)

    async def maintain_tokens(self, **_: float) -> tuple[float, tuple[str, ...]]:
        """Wait for the vault's next change: (no pause after it, whose token it is)."""
        if self._events is None:
            self._events = bridge.events(self._app)
        async for event in self._events:
            if event.kind in ("added", "refreshed", "removed"):
                return 0.0, (event.user_id,)
        self._events = None
        return 1.0, ()
