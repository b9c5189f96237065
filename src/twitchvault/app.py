"""`App`: one Twitch application, its users' tokens, and the surface that all flows share."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from twitchvault.errors import NotAuthorized, StoreError, TokenError, scrub_traceback
from twitchvault.helix.api import AppAPI, UserAPI
from twitchvault.helix.client import HelixClient
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.stores.base import TokenStore
from twitchvault.stores.memory import MemoryStore
from twitchvault.stores.url import open_store
from twitchvault.vault.record import TokenPair
from twitchvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from types import MappingProxyType, TracebackType

    import aiohttp

    from twitchvault.models import ClientCredentials, Token, ValidateToken
    from twitchvault.vault.events import VaultEvent

__all__ = ["App"]

_logger = logging.getLogger(__name__)

ID_URL: Final = "https://id.twitch.tv/oauth2/"
API_URL: Final = "https://api.twitch.tv/helix/"
LEASE_TTL: Final = 60.0


class _Core:
    """What an app and the flows made from it share."""

    def __init__(
        self, http: HTTPClient, identity: Identity, vault: Vault, helix: HelixClient
    ) -> None:
        self.http = http
        self.identity = identity
        self.vault = vault
        self.helix = helix
        self.application: AppAPI | None = None
        self.authorized = False
        self.closing: asyncio.Task[None] | None = None

    def closed(self, task: asyncio.Task[None]) -> None:
        """The closing has ended; its error has been logged, should nobody wait for it any more."""
        self.closing = None
        if not task.cancelled():
            task.exception()


class App:
    """One Twitch application and its users' tokens.

    `client_secret=None` is a public client: no app token is fetched and `application` stays None.
    `store`: a `TokenStore`, a URL ("memory://", "sqlite:///relative.db", "sqlite:////absolute.db",
    "redis://…", "rediss://…", "unix://…"), or None for a private `MemoryStore`. A store object is
    opened if need be and closed by you; one made from a URL is closed by `close()`.
    `maintain=False` stops background validation and early refresh, nothing else.
    `lease_ttl`: seconds that a refresh may take before another process may take it over.
    `id_url`, `api_url`: where Twitch is, for tests and proxies.
    `session`, `connector`, `proxy`, `proxy_auth`, `http_trace` go to aiohttp; a session or
    connector of yours is not closed.

    An app belongs to the event loop on which it was authorized.
    """

    @scrub_traceback
    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        store: TokenStore | str | None = None,
        maintain: bool = True,
        lease_ttl: float = LEASE_TTL,
        id_url: str = ID_URL,
        api_url: str = API_URL,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | None = None,
        proxy: str | None = None,
        proxy_auth: aiohttp.BasicAuth | None = None,
        http_trace: aiohttp.TraceConfig | None = None,
    ) -> None:
        _check(client_id, client_secret, lease_ttl)
        self._own_store = _store(store) if store is None or isinstance(store, str) else None
        http = HTTPClient(
            client_id=client_id,
            session=session,
            connector=connector,
            proxy=proxy,
            proxy_auth=proxy_auth,
            http_trace=http_trace,
        )
        identity = Identity(http, client_id, client_secret, id_url)
        vault = Vault(
            self._own_store or _store(store), identity, maintain=maintain, lease_ttl=lease_ttl
        )
        self._core = _Core(http, identity, vault, HelixClient(http, vault, api_url))
        self._guest = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(client_id={self.http.client_id!r})"

    def __await__(self) -> Generator[None, None, Self]:
        """For `flow = await DeviceCodeFlow.from_app(app)`: the object itself, at once."""
        return self
        yield

    # Life

    async def __aenter__(self) -> Self:
        if self._guest:
            return self
        try:
            await self.authorize()
        except BaseException:
            # What went wrong matters more than what then cannot be closed.
            with suppress(StoreError):
                await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @scrub_traceback
    async def authorize(self, *, token: str | None = None) -> None:
        """Open the store and get the application ready; may be called again.

        The app access token is `token` if given (validated first), else the vault's own if it
        still validates, else a new one. A public client needs none. Raises `AuthFailure` if
        `token` is not an app token of this client, `HTTPException` as Twitch says (403: wrong
        secret), `StoreError` if the store cannot be opened.
        """
        core = self._core
        if token is not None:
            _check_token("token", token)
        if core.closing is not None:
            await asyncio.wait((core.closing,))
        self.http.retired = False
        await core.vault.open()
        if token is not None:
            await core.vault.take_app_token(token)
            has_token = True
        else:
            has_token = await core.vault.ensure_app_token()
        core.application = AppAPI(self.http.client_id, core.helix) if has_token else None
        core.authorized = True

    def clear(self) -> None:
        """Forget local state and background tasks; the store keeps everything.

        A refresh under way, or a pair not yet written, is still brought home. `authorize()` begins
        anew.
        """
        if not self._guest:
            self._core.vault.clear()
            self._core.helix.clear()
            self._core.application = None
            self._core.authorized = False

    @scrub_traceback
    async def close(self) -> None:
        """Write what is waiting, end all tasks, close what this object opened; idempotent.

        Takes at most `lease_ttl` and half a minute, and goes on if its caller is cancelled. A flow
        made with `from_app` leaves the app open. Raises `StoreError` if a change could not be
        written: it stays queued, and `authorize()` tries on.
        """
        if self._guest:
            return
        core = self._core
        if core.closing is None:
            core.application, core.authorized = None, False
            core.closing = asyncio.create_task(self._close(), name="twitchvault close")
            core.closing.add_done_callback(core.closed)
        # A caller who does not want to wait may go; what is on its way home gets there.
        await asyncio.shield(core.closing)

    async def _close(self) -> None:
        try:
            await self._core.vault.close()
        finally:
            if self._own_store is not None:
                await self._own_store.close()
            self._core.http.retired = True
            await self._core.http.close()

    @classmethod
    def from_app(cls, app: App) -> Self:
        """A flow that shares the vault, the HTTP session and the app token of `app`.

        `F.from_app(app)`, `await F.from_app(app)` and `async with F.from_app(app) as flow` all
        work. Closing it leaves `app` open. `NotAuthorized` (a `TokenError` and an `IndexError`)
        if `app` is not authorized.
        """
        if not app._core.authorized:
            msg = "the app is not authorized: call 'await app.authorize()' first"
            raise NotAuthorized(msg)
        flow = cls.__new__(cls)
        flow._own_store, flow._core, flow._guest = None, app._core, True  # noqa: SLF001
        return flow

    # Views

    @property
    def http(self) -> HTTPClient:
        """What sends the requests; `http.client_id` is the client id."""
        return self._core.http

    @property
    def application(self) -> AppAPI | None:
        """Helix in the name of the application; None before `authorize()`, and without a secret."""
        return self._core.application

    @property
    def tokens(self) -> MappingProxyType[str, tuple[str, str | None]]:
        """User id → (access token, refresh token or None); the app token under the client id.

        A live view of what all processes have stored. Reading it never waits; with very many users,
        who asks for all of them right after `authorize` may await `sync()` before.
        """
        return self._core.vault.mirror.tokens

    @property
    def tokens_validity(self) -> MappingProxyType[str, tuple[float, float]]:
        """User id → (last validated, epoch seconds; expires in, seconds as of then)."""
        return self._core.vault.mirror.validity

    @property
    def users_scopes(self) -> MappingProxyType[str, tuple[str, ...]]:
        """User id → scopes, of validated user tokens."""
        return self._core.vault.mirror.scopes

    @property
    def damaged(self) -> MappingProxyType[str, StoreError]:
        """User id → why its record cannot be read; such a user is in no other view."""
        return self._core.vault.mirror.damaged

    def events(self) -> AsyncIterator[VaultEvent]:
        """Every change of a token from now on, until `close()` or `clear()`.

        Who is damaged already is told of when that is found, which may be after `authorize`.
        """
        return self._core.vault.event_stream()

    @scrub_traceback
    async def sync(self) -> None:
        """Return once the views show everything that any process had committed before the call."""
        await self._core.vault.sync()

    @scrub_traceback
    async def flush(self) -> None:
        """Return once every local change is durable; raises what failed, which stays queued."""
        await self._core.vault.flush()

    # Users

    def get_token(self, user_id: str) -> tuple[str, str | None] | None:
        """(access token, refresh token or None) of a user, or None if none is stored.

        Raises `CorruptRecord` or `DecryptionError` for a user in `damaged`.
        """
        record = self._core.vault.mirror.get(user_id)
        return None if record is None else record.pair

    def get_token_quota(self, user_id: str) -> int | None:
        """Helix points left as Twitch last reported, or None."""
        return self._core.helix.points_left(user_id)

    def get_user_by_id(self, user_id: str) -> UserAPI:
        """Helix in the name of a stored user.

        `ValueError` for the client id (use `application`), `TokenError` if nothing is stored.
        """
        if user_id == self.http.client_id:
            msg = "'user_id' is the client id: use the 'application' property for the app token"
            raise ValueError(msg)
        if self._core.vault.mirror.get(user_id) is None:
            msg = f"no token is stored for user {user_id!r}; sign the user in first"
            raise TokenError(msg)
        return UserAPI(user_id, self._core.helix)

    @scrub_traceback
    def add_token(self, user_id: str, access_token: str, refresh_token: str | None) -> UserAPI:
        """Store a pair without validating it; shown at once, written in the background.

        Works before `authorize()` too. A pair whose refresh token the vault has exchanged before
        yields the vaulted pair. `flush()` waits until it is durable.
        """
        pair = _pair(access_token, refresh_token)
        self._core.vault.add_token(user_id, pair)
        return UserAPI(user_id, self._core.helix)

    @scrub_traceback
    async def add_user(self, access_token: str, refresh_token: str | None) -> UserAPI:
        """Validate a pair, renew it if its access token is dead, store it; durable on return.

        The refresh token is used only after a 401, once in all processes that add the same pair.
        `AuthFailure` if neither token works, or if they are not a user's tokens of this client;
        any other answer raises as itself, and nothing is stored.
        """
        user_id = await self._core.vault.add_user(_pair(access_token, refresh_token))
        return UserAPI(user_id, self._core.helix)

    def remove_token(self, user_id: str) -> None:
        """Remove a user from the store; revokes nothing.

        If the vault has exchanged tokens of this user, their fingerprints stay, without any token:
        a spent token that comes back from an old configuration file must not be sent to Twitch.
        """
        self._core.vault.remove(user_id)

    # Tokens

    @scrub_traceback
    async def validate_token(self, token: str) -> ValidateToken:
        """Ask Twitch about an access token; `Unauthorized` if it is not good."""
        _check_token("token", token)
        return await self._core.vault.validate_token(token)

    @scrub_traceback
    async def refresh_token(self, token: str) -> Token:
        """Exchange a refresh token.

        A vaulted one goes through the exactly-once refresh, one known to be spent yields the
        vaulted pair, an unknown one is sent as it is and its answer is only returned.
        """
        _check_token("token", token)
        return await self._core.vault.refresh_token(token)

    @scrub_traceback
    async def revoke_token(self, token: str) -> None:
        """Revoke an access token at Twitch; a vaulted one then leaves the vault, durably.

        Twitch keeps the refresh token alive. A vaulted token that Twitch does not know any more
        just leaves the vault; any other one is a `BadRequest`. `NotFound`: unknown client.
        """
        _check_token("token", token)
        await self._core.vault.revoke_token(token)

    @scrub_traceback
    async def credentials_grant_flow(self) -> ClientCredentials:
        """A new app access token, returned only; `authorize()` gets and keeps one by itself."""
        return await self._core.identity.client_credentials()


def _check(client_id: str, client_secret: str | None, lease_ttl: float) -> None:
    if not isinstance(client_id, str) or not client_id.strip():
        msg = "'client_id' must be the client id from Twitch's developer console"
        raise ValueError(msg)
    if client_secret is not None and (not isinstance(client_secret, str) or not client_secret):
        msg = "'client_secret' must be a non-empty str; leave it out for a public client"
        raise ValueError(msg)
    if not lease_ttl > 0:
        msg = f"'lease_ttl' must be a number of seconds above 0, not {lease_ttl!r}"
        raise ValueError(msg)


def _store(store: TokenStore | str | None) -> TokenStore:
    if store is None:
        return MemoryStore()
    if isinstance(store, str):
        return open_store(store)
    if isinstance(store, TokenStore):
        return store
    msg = f"'store' must be a TokenStore, a URL or None, not {type(store).__name__}"
    raise TypeError(msg)


def _pair(access_token: str, refresh_token: str | None) -> TokenPair:
    _check_token("access_token", access_token)
    if refresh_token is not None and refresh_token != "":
        _check_token("refresh_token", refresh_token)
    return TokenPair(access_token, refresh_token or None)


def _check_token(name: str, token: str) -> None:
    if not isinstance(token, str) or not token:
        msg = f"{name!r} must be a non-empty str"
        raise ValueError(msg)
    # Not by encoding it: the error would hold the token.
    if any("\ud800" <= character <= "\udfff" for character in token):
        msg = f"{name!r} must be encodable as UTF-8; it holds a lone surrogate"
        raise ValueError(msg)
