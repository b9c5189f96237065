"""`App`: one Twitch application, its users' tokens, and the surface that all flows share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from twitchvault import inputs
from twitchvault.core import Core
from twitchvault.errors import NotAuthorized, StoreError, WrongType, WrongValue, scrub_traceback
from twitchvault.helix.api import UserAPI
from twitchvault.http import HTTPClient
from twitchvault.identity import Identity
from twitchvault.loops import on_bound_loop
from twitchvault.metrics import Metrics
from twitchvault.stores.base import TokenStore, check_key
from twitchvault.stores.memory import MemoryStore
from twitchvault.stores.url import open_store
from twitchvault.vault.record import TokenPair
from twitchvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from types import MappingProxyType

    import aiohttp

    from twitchvault.helix.api import AppAPI
    from twitchvault.loops import LoopBinding
    from twitchvault.metrics import Health, Metric
    from twitchvault.models import ClientCredentials, Token, ValidateToken
    from twitchvault.vault.events import VaultEvent
    from twitchvault.vault.history import HistoryEntry

__all__ = ["App"]

ID_URL: Final = "https://id.twitch.tv/oauth2/"
API_URL: Final = "https://api.twitch.tv/helix/"
LEASE_TTL: Final = 60.0


class App:
    """One Twitch application and its users' tokens.

    `client_secret=None` is a public client: no app token is fetched and `application` stays None.
    `store`: a `TokenStore`, a URL ("memory://", "sqlite:///relative.db", "sqlite:////absolute.db",
    "redis://…", "rediss://…", "unix://…"), or None for a private `MemoryStore`. A store object is
    opened if need be and closed by you; one made from a URL is closed by `close()`.
    `maintain=False` stops background validation and early refresh, nothing else.
    `lease_ttl`: seconds, 1 or more, after which another process may take a refresh over.
    `id_url`, `api_url`: where Twitch is, for tests and proxies.
    `session`, `connector`, `proxy`, `proxy_auth`, `http_trace`, `trust_env` (the proxy of
    HTTPS_PROXY and the like) go to aiohttp; a session or connector of yours is not closed.
    `on_metric` is called with a `Metric` for each request, refresh, validation, store call and
    needs_login, on the loop, so it must not block. What it raises is logged once.

    An app belongs to the event loop on which it was authorized: elsewhere its coroutines raise
    `WrongEventLoop`, a `RuntimeError`, before anything is sent. Views can be read in any thread.
    White space around tokens, secrets and ids is taken off, and a leading `oauth:` or `Bearer ` of
    a token; a `ValueError` names what cannot be one.
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
        trust_env: bool = False,
        on_metric: Callable[[Metric], object] | None = None,
    ) -> None:
        metrics = Metrics(on_metric)
        http = HTTPClient(
            metrics=metrics,
            client_id=inputs.client_id(client_id),
            session=session,
            connector=connector,
            proxy=proxy,
            proxy_auth=proxy_auth,
            http_trace=http_trace,
            trust_env=trust_env,
        )
        secret = inputs.client_secret(client_secret)
        identity = Identity(http, http.client_id, secret, id_url)
        lease_ttl = inputs.seconds("lease_ttl", lease_ttl, least=1)
        used = _store(store)
        vault = Vault(used, identity, maintain=maintain, lease_ttl=lease_ttl, metrics=metrics)
        self._core = Core(http, identity, vault, api_url, None if used is store else used)
        self._shared = False

    @classmethod
    @scrub_traceback
    def from_env(cls, **overrides: Any) -> Self:  # noqa: ANN401 - those of the constructor
        """An app or flow as the environment describes it; `overrides` go to the constructor.

        TWITCHVAULT_CLIENT_ID, _CLIENT_SECRET, _STORE (not set: a SQLite file in the platform's data
        folder), _NAMESPACE (of a Redis store), _KEYS (Fernet keys, comma or newline between them:
        the store is encrypted), _ID_URL, _API_URL; each may stand in a file, whose path
        `TWITCHVAULT_..._FILE` names. An override stands in place of its variable; a store that is
        passed must be encrypted itself if there are keys. `ValueError` names a variable that is
        empty or set twice, whose file cannot be read, and a missing client id.
        """
        from twitchvault import environment  # noqa: PLC0415 - most programs do without

        settings, own_store = environment.arguments(overrides)
        app = cls(**settings)
        if own_store is not None:
            app._core.own_store = own_store
        return app

    def __repr__(self) -> str:
        return f"{type(self).__name__}(client_id={self.http.client_id!r})"

    def __await__(self) -> Generator[None, None, Self]:
        """For `flow = await DeviceCodeFlow.from_app(app)`: the object itself, at once."""
        return self
        yield

    # Life

    async def __aenter__(self) -> Self:
        if self._shared:
            self._check_shared()
        else:
            await self.authorize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @scrub_traceback
    async def authorize(self, *, token: str | None = None) -> None:
        """Open the store and get the application ready; may be called again.

        The app access token is `token` if given (validated first), else the vault's own if it
        still validates, else a new one. A public client needs none. From now on the app belongs to
        the running event loop. If it fails, all is closed again: `AuthFailure` if `token` is no app
        token of this client, `HTTPException` (403: wrong secret), `StoreError` if the store cannot
        be opened, or if the app was cleared or closed meanwhile.
        """
        if self._shared:
            self._check_shared()
        await self._core.authorize(None if token is None else inputs.token("token", token))

    def _check_shared(self) -> None:
        if not self._core.helix.authorized:
            raise NotAuthorized("the app is not authorized: call 'await app.authorize()' first")

    def clear(self) -> None:
        """Forget local state and background tasks; the store keeps everything.

        A refresh under way, and what is not yet written, still ends. `authorize()` begins anew.
        """
        if not self._shared:
            self._core.clear()

    @scrub_traceback
    async def close(self) -> None:
        """Write what is waiting, end all tasks, close what this object opened; idempotent.

        Takes at most 5 seconds, with a request of a refresh on its way at most `lease_ttl` more,
        and goes on if its caller is cancelled. A flow made with `from_app` leaves the app open.
        Raises `StoreError` if a change could not be written, `WrongEventLoop` on another loop than
        that of `authorize()` unless that one is closed.
        """
        if not self._shared:
            await self._core.close()

    @classmethod
    def from_app(cls, app: App) -> Self:
        """A flow that shares the vault, the HTTP session and the app token of `app`.

        `F.from_app(app)`, `await F.from_app(app)` and `async with F.from_app(app) as flow` all
        work. Closing it leaves `app` open. `NotAuthorized` (a `TokenError` and an `IndexError`)
        if `app` is not authorized.
        """
        flow = cls.__new__(cls)
        flow._core, flow._shared = app._core, True  # noqa: SLF001
        flow._check_shared()  # noqa: SLF001
        return flow

    # Views

    @property
    def _binding(self) -> LoopBinding:
        return self._core.binding

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

        A live view of what all processes have stored. Reading it never waits.
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
    def needs_login(self) -> MappingProxyType[str, str]:
        """User id → the reason, of those who have to sign in again."""
        return self._core.vault.mirror.needs_login

    @property
    def damaged(self) -> MappingProxyType[str, StoreError]:
        """User id → why its record cannot be read; such a user is in no other view."""
        return self._core.vault.mirror.damaged

    def events(self) -> AsyncIterator[VaultEvent]:
        """Every change of a token from now on, until `close()` or `clear()`."""
        return self._core.vault.event_stream()

    def history(self, user_id: str) -> tuple[HistoryEntry, ...]:
        """The last ten things that happened to a user's tokens, newest last.

        Also of a user who was removed, as far as the store remembers; empty for an unknown one.
        Hourly validations are left out. Raises as `get_token` does.
        """
        return self._core.vault.history(self._user_id(user_id))

    @on_bound_loop
    async def health(self) -> Health:
        """How the vault is, within a second, also if the store is away; raises nothing."""
        return await self._core.vault.health()

    @on_bound_loop
    async def sync(self) -> None:
        """Return once the views show everything that any process had committed before the call."""
        await self._core.vault.sync()

    @on_bound_loop
    async def flush(self) -> None:
        """Return once every local change is durable; raises what failed, which stays queued."""
        await self._core.vault.flush()

    # Users

    def get_token(self, user_id: str) -> tuple[str, str | None] | None:
        """(access token, refresh token or None) of a user, or None if none is stored.

        Raises `CorruptRecord` or `DecryptionError` for a user in `damaged`.
        """
        record = self._core.vault.record(self._user_id(user_id))
        return None if record is None else record.pair

    def get_token_quota(self, user_id: str) -> int | None:
        """Helix points left as Twitch last reported, or None."""
        return self._core.helix.points_left.get(self._user_id(user_id))

    def get_user_by_id(self, user_id: str) -> UserAPI:
        """Helix in the name of a stored user.

        `ValueError` for the client id (use `application`), `TokenError` if nothing is stored;
        `NotAuthorized`, which is one, if that is because `authorize()` was not called yet.
        """
        user_id = self._user_id(user_id, app=False)
        self._core.helix.record(user_id)
        return UserAPI(user_id, self._core.helix)

    @scrub_traceback
    def add_token(self, user_id: str, access_token: str, refresh_token: str | None) -> UserAPI:
        """Store a pair without validating it; shown at once, written in the background.

        Works before `authorize()` too; `flush()` waits until it is durable. A pair whose refresh
        token the vault has exchanged yields the vaulted pair; so does an access token alone where
        the vault has renewed one. The first validation compares whose token it is: another user's
        or client's makes the user need a login.
        """
        user_id = self._user_id(user_id, app=False)
        pair = _pair(access_token, refresh_token)
        self._binding.check_change()
        self._core.vault.add_token(user_id, pair)
        return UserAPI(user_id, self._core.helix)

    @on_bound_loop
    async def add_user(self, access_token: str, refresh_token: str | None) -> UserAPI:
        """Validate a pair, renew it if its access token is dead, store it; durable on return.

        The refresh token is used after a 401 alone, once in all processes that add the same pair.
        `AuthFailure` if neither token works, or if they are not a user's of this client; any other
        answer raises as itself, and nothing is stored. An access token alone takes the place of a
        pair that the vault has renewed only if it has more scopes.
        """
        user_id = await self._core.vault.add_user(_pair(access_token, refresh_token))
        return UserAPI(user_id, self._core.helix)

    def remove_token(self, user_id: str) -> None:
        """Remove a user from the store; revokes nothing.

        The fingerprints of exchanged tokens stay: a spent one may come back from an old file.
        """
        user_id = self._user_id(user_id)
        self._binding.check_change()
        self._core.vault.remove(user_id)

    def _user_id(self, user_id: object, *, app: bool = True) -> str:
        """A checked user id; `app`: the client id will do as well."""
        text = inputs.user_id(user_id)
        check_key(f"{self.http.client_id}:{text}", "user_id")
        if text == self.http.client_id and not app:
            msg = "'user_id' is the client id: use the 'application' property for the app token"
            raise WrongValue(msg)
        return text

    # Tokens

    @on_bound_loop
    async def validate_token(self, token: str) -> ValidateToken:
        """Ask Twitch about an access token; `Unauthorized` if it is not good."""
        return await self._core.vault.validate_token(inputs.token("token", token))

    @on_bound_loop
    async def refresh_token(self, token: str) -> Token:
        """Exchange a refresh token, exactly once in all processes.

        One known to be spent yields the vaulted pair. The successor of an unknown one becomes the
        vault's, so that the same call at the next start exchanges nothing.
        """
        return await self._core.vault.refresh_token(inputs.token("token", token))

    @on_bound_loop
    async def revoke_token(self, token: str) -> None:
        """Revoke an access token at Twitch; a vaulted one then leaves the vault, durably.

        Twitch keeps the refresh token alive. A vaulted token that Twitch does not know any more
        just leaves the vault; any other one is a `BadRequest`. `NotFound`: unknown client.
        """
        await self._core.vault.revoke_token(inputs.token("token", token))

    @on_bound_loop
    async def credentials_grant_flow(self) -> ClientCredentials:
        """A new app access token, returned only; `authorize()` gets and keeps one by itself."""
        return await self._core.identity.client_credentials()


def _store(store: TokenStore | str | None) -> TokenStore:
    if store is None:
        return MemoryStore()
    if isinstance(store, str):
        return open_store(store)
    if isinstance(store, TokenStore):
        return store
    raise WrongType(f"'store' must be a TokenStore, a URL or None, not {type(store).__name__}")


def _pair(access_token: str, refresh_token: str | None) -> TokenPair:
    access_token = inputs.token("access_token", access_token)
    return TokenPair(access_token, inputs.optional_token("refresh_token", refresh_token))
