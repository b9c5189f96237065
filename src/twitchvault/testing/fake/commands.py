"""The commands of a double, in one list.

`FakeTwitch` has them as methods, `control` offers each under its name as JSON, and `RemoteTwitch`
has them as coroutines. A client may be named by its id, a user by id or login.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from .consent import Consent
from .eventsub import EventSub
from .faults import Faults
from .helix import Helix, Resource
from .identity import Identity
from .irc import Irc
from .logins import Logins
from .model import Client, Counts, Pair, RequestLog, Settings, User, apply_options
from .openid import IdTokens
from .state import State
from .tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from .tokens import Access


class Addresses(ABC):
    """A double that has addresses while it runs."""

    _url = ""

    @property
    def url(self) -> str:
        """The server's root, without a slash at the end; RuntimeError while it does not run."""
        if not self._url:
            raise RuntimeError("the double is not running: 'async with' it, or 'start' it, first")
        return self._url

    @property
    def id_url(self) -> str:
        """What to pass as `id_url`."""
        return f"{self.url}/oauth2/"

    @property
    def api_url(self) -> str:
        """What to pass as `api_url`."""
        return f"{self.url}/helix/"

    @property
    def eventsub_url(self) -> str:
        """Where EventSub's websocket is."""
        return f"ws{self.url.removeprefix('http')}/ws"

    @property
    def irc_url(self) -> str:
        """Where chat is, as IRC over a websocket."""
        return f"ws{self.url.removeprefix('http')}/irc"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abstractmethod
    async def start(self) -> None:
        """Begin; a no-op when it has begun."""

    @abstractmethod
    async def close(self) -> None:
        """End; idempotent."""


class Commands(Faults, Settings):
    """Everything that a test can do with the double."""

    def __init__(self, *, seed: int | None = None, **settings: object) -> None:
        super().__init__()
        apply_options(self, settings)
        self._state = State(self, seed)
        self._tokens = Tokens(self._state)
        self._logins = Logins(self._state, self._tokens)
        self._id_tokens = IdTokens(self._state)
        self._identity = Identity(self._state, self._tokens, self._logins, self._id_tokens)
        self._consent = Consent(self._state, self._tokens, self._logins)
        self._eventsub = EventSub(self._state)
        self._tokens.on_end = self._eventsub.revoke
        self._helix = Helix(self._state, self._tokens, self._eventsub)
        self._irc = Irc(self._state, self._tokens)

    # Clients, users, settings

    def register_client(
        self,
        /,
        *,
        public: bool = False,
        redirect_uris: Iterable[str] = (),
        client_id: str | None = None,
        client_secret: str | None = None,
        name: str = "An application",
        **switches: object,
    ) -> Client:
        """Register an application; `switches` are those of `Switches`, by name."""
        if public and client_secret is not None:
            raise ValueError("'client_secret': a public client has none")
        client_id = client_id or self._state.name(30)
        secret = None if public else client_secret or self._state.token()
        client = Client(client_id, secret, tuple(redirect_uris), name)
        apply_options(client.switches, switches)
        return self._state.add_client(client)

    def switch(self, /, client: Client | str, **switches: object) -> None:
        """Change switches of a client."""
        apply_options(self._state.client(client).switches, switches)

    def configure(self, /, **settings: object) -> None:
        """Change the double's own settings, by name: the fields of `Settings`."""
        apply_options(self, settings)

    def rotate_secret(self, client: Client | str) -> Client:
        """Give a client a new secret; the old one stops at once, tokens live on."""
        known = self._state.client(client)
        if known.public:
            raise ValueError(f"client {known.client_id!r} is public: it has no secret")
        known.client_secret = self._state.token()
        return known

    def add_user(
        self, login: str, *, user_id: str | None = None, display_name: str | None = None
    ) -> User:
        """Add a Twitch user; without `user_id` the double chooses one."""
        return self._state.add_user(login, user_id, display_name)

    def rename(self, user: User | str, login: str) -> User:
        """The user takes another login; the id stays."""
        return self._state.rename(user, login)

    # Tokens

    def issue(
        self,
        client: Client | str,
        user: User | str,
        scopes: Iterable[str] = (),
        expires_in: float | None = None,
    ) -> Pair:
        """A live pair without a flow; `expires_in` seconds instead of the settings' lifetime."""
        known = self._state.client(client)
        return self._tokens.issue(known, self._state.user(user), scopes, expires_in)

    def issue_expired(
        self, client: Client | str, user: User | str, scopes: Iterable[str] = ()
    ) -> Pair:
        """A pair whose access token has expired already and whose refresh token is good."""
        return self.issue(client, user, scopes, expires_in=0)

    def live_pair(self, client: Client | str, user: User | str) -> Pair | None:
        """The newest pair of the two; None if they are not connected (any more).

        Its refresh token is good unless too old; its access token may be dead or expired.
        """
        return self._tokens.newest(self._state.client(client), self._state.user(user))

    def is_live(self, access_token: str) -> bool:
        """Whether an access token (of a user or an app) works at this moment."""
        token = self._tokens.find(access_token)
        return token is not None and self._tokens.is_live(token)

    def validations_of(self, access_token: str) -> tuple[float, ...]:
        """When that token was validated, in seconds of the double's clock."""
        return tuple(self._access(access_token).validations)

    def expire_access(self, target: User | str, client: Client | str | None = None) -> int:
        """Let an access token, or all of a user's (with a client), expire now; returns how many."""
        token = self._tokens.find(target) if isinstance(target, str) else None
        tokens = [token] if token is not None else self._live_tokens(target, client)
        for token in tokens:
            self._tokens.expire(token)
        return len(tokens)

    def kill_access_token(self, access_token: str) -> None:
        """One access token dies before its time; its refresh token survives."""
        self._tokens.kill(self._access(access_token))

    def kill_app_tokens(self, client: Client | str) -> int:
        """All app tokens of a client die; returns how many."""
        tokens = self._tokens.app_tokens(self._state.client(client))
        for token in tokens:
            self._tokens.kill(token)
        return len(tokens)

    def disconnect(self, client: Client | str, user: User | str) -> bool:
        """The user disconnects the application: every token of the two dies."""
        return self._tokens.disconnect(self._state.client(client), self._state.user(user))

    def change_password(self, user: User | str) -> int:
        """The user changes the password: disconnects every application; returns how many."""
        grants = self._tokens.grants_of(self._state.user(user))
        for grant in grants:
            self._tokens.end(grant)
        return len(grants)

    # Consent

    def approve(self, user_code: str, user: User | str) -> None:
        """The user approves the device login that waits under this code."""
        self._logins.decide(user_code, self._state.user(user))

    def deny(self, user_code: str) -> None:
        """Somebody presses Cancel for this code."""
        self._logins.decide(user_code, None)

    def auto_approve(self, user: User | str | None, after: float = 0) -> None:
        """Approve every device login `after` seconds from its start; None stops that."""
        self._logins.auto_approve = None if user is None else (self._state.user(user), after)

    def auto_consent(self, user: User | str | None, *, deny: bool = False) -> None:
        """Answer the consent page for everybody: as `user`, or deny; None asks again."""
        self._logins.auto_consent = None if user is None else self._state.user(user)
        self._logins.auto_consent_deny = deny

    # Helix

    def add_resource(
        self,
        path: str,
        items: Iterable[object] = (),
        *,
        scope: str | None = None,
        needs: str | None = None,
    ) -> None:
        """Serve JSON items under /helix/<path>, in pages of `first`.

        `scope` must be granted; `needs` "user" or "app" wants that kind of token. Other methods
        give back the JSON body that was sent; DELETE answers 204.
        """
        if needs not in {None, "user", "app"}:
            raise ValueError(f"'needs': expected 'user', 'app' or None, not {needs!r}")
        self._helix.resources[path.strip("/")] = Resource(tuple(items), scope, needs)

    # Sockets

    def notify(self, kind: str, event: Mapping[str, object]) -> int:
        """Send an event to the EventSub subscriptions that it meets; returns to how many."""
        return self._eventsub.notify(kind, dict(event))

    def say(self, channel: str, user: User | str, text: str) -> int:
        """A user writes in chat; returns how many connections get it."""
        return self._irc.say(f"#{channel.removeprefix('#')}", self._state.user(user), text)

    def reconnect_sockets(self) -> None:
        """Ask all EventSub sessions and chat connections to connect anew, as Twitch does."""
        for connection in (*self._eventsub.sessions, *self._irc.chatters):
            connection.reconnect()

    def drop_sockets(self) -> int:
        """Cut all of them without a word, as a broken network does; returns how many."""
        connections = (*self._eventsub.sessions, *self._irc.chatters)
        for connection in connections:
            connection.drop()
        return len(connections)

    @property
    def subscriptions(self) -> tuple[dict[str, object], ...]:
        """The EventSub subscriptions that live, as Helix shows them."""
        return tuple(each.as_json() for each in self._eventsub.subscriptions())

    @property
    def chatters(self) -> tuple[tuple[str, ...], ...]:
        """Who is in chat: the login, then the channels."""
        present = [each for each in self._irc.chatters if each.user]
        return tuple((each.user.login, *each.channels) for each in present if each.user)

    # Clock and records

    def now(self) -> float:
        """The double's clock: epoch seconds plus what `advance` added."""
        return self._state.now()

    def advance(self, seconds: float) -> float:
        """Move the clock on by so many seconds; returns the new time."""
        return self._state.advance(seconds)

    @property
    def counts(self) -> Counts:
        """A snapshot of the counters."""
        return replace(self._state.counters)

    @property
    def requests(self) -> tuple[RequestLog, ...]:
        """The last 10 000 requests, oldest first, without any value."""
        return tuple(self._state.requests)

    @property
    def leaks(self) -> tuple[RequestLog, ...]:
        """The requests that brought a secret or a token in the query string."""
        return tuple(entry for entry in self._state.requests if entry.secrets_in_query)

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret, token and code that was ever handed out: for leak tests."""
        return frozenset(self._state.secrets)

    def _access(self, value: str) -> Access:
        token = self._tokens.find(value)
        if token is None:
            raise ValueError("no such access token was ever issued here")
        return token

    def _live_tokens(self, user: User | str, client: Client | str | None) -> list[Access]:
        grants = self._tokens.grants_of(self._state.user(user))
        if client is not None:
            grants = [grant for grant in grants if grant.client is self._state.client(client)]
        return [token for grant in grants for token in grant.live.values()]
