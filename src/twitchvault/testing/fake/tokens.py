"""Tokens: how Twitch issues, exchanges and revokes them. No HTTP here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .model import Pair, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .model import Client, User
    from .state import State

REFRESH_LENGTH: Final = 50


@dataclass(eq=False, slots=True)
class Access:
    """An access token; `expires_at` None means never, `grant` None means an app token."""

    value: str
    client: Client
    scopes: tuple[str, ...]
    expires_at: float | None
    grant: Grant | None = None
    killed: bool = False
    seen_expired: bool = False
    validations: list[float] = field(default_factory=list)

    @property
    def user(self) -> User | None:
        """Whose it is; None for an app token."""
        return None if self.grant is None else self.grant.user


@dataclass(eq=False, slots=True)
class Refresh:
    """A refresh token, and the access token that was issued with it."""

    value: str
    grant: Grant
    access: Access
    expires_at: float | None
    spent: bool = False


@dataclass(eq=False, slots=True)
class Grant:
    """A user's connection to an application: a disconnect or a replay ends it."""

    client: Client
    user: User
    alive: bool = True
    scopes: set[str] = field(default_factory=set)
    live: dict[str, Access] = field(default_factory=dict)
    newest: Refresh | None = None


class Tokens:
    """All tokens that were ever issued. Dead ones stay: a spent token must be known as spent."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.on_end: Callable[[Grant], None] = lambda _: None
        self._access: dict[str, Access] = {}
        self._refresh: dict[str, Refresh] = {}
        self._grants: dict[tuple[str, str], Grant] = {}
        self._app: dict[str, dict[str, Access]] = {}

    def find(self, value: str) -> Access | None:
        """The access token of that value, dead or alive."""
        return self._access.get(value)

    def find_valid(self, value: str) -> Access | None:
        """The live access token of that value; one found expired is counted, once."""
        token = self.find(value)
        if token is None or self.is_live(token):
            return token
        if not token.killed and not token.seen_expired:
            token.seen_expired = True
            self._state.counters.expiries += 1
        return None

    def is_live(self, token: Access) -> bool:
        """Whether it works at this moment."""
        return not token.killed and not self._is_past(token.expires_at)

    def is_live_refresh(self, value: str) -> bool:
        """Whether a refresh token would be exchanged at this moment."""
        token = self._refresh.get(value)
        return token is not None and self._is_usable(token)

    def grant(self, client: Client, user: User) -> Grant | None:
        """The live connection between the two."""
        return self._grants.get((client.client_id, user.user_id))

    def newest(self, client: Client, user: User) -> Pair | None:
        """The pair that was issued last, unless the connection has ended."""
        grant = self.grant(client, user)
        return None if grant is None or grant.newest is None else self._pair(grant.newest)

    def grants_of(self, user: User) -> list[Grant]:
        """A user's live connections."""
        return [grant for grant in self._grants.values() if grant.user is user]

    def app_tokens(self, client: Client) -> list[Access]:
        """A client's app tokens that are not revoked."""
        return list(self._live_with(client, None).values())

    def issue(
        self, client: Client, user: User, scopes: Iterable[str], lifetime: float | None = None
    ) -> Pair:
        """A new pair after consent; `lifetime` seconds instead of the settings' (0: expired)."""
        if client.switches.reconsent == "replace":
            self.disconnect(client, user)
        key = (client.client_id, user.user_id)
        grant = self._grants.setdefault(key, Grant(client, user))
        granted = tuple(dict.fromkeys(scopes))
        grant.scopes.update(granted)
        access, announced = self._new_user_access(grant, granted, lifetime)
        return self._pair(self._new_refresh(grant, access), announced)

    def issue_app(self, client: Client) -> tuple[Access, int | None]:
        """A new app token and the seconds to announce."""
        lifetime = self._state.draw(self._state.settings.app_token_lifetime)
        return self._new_access(client, None, (), lifetime)

    def refresh(self, client: Client, value: str) -> Pair:
        """Exchange a refresh token, or refuse it; a replay may end the connection."""
        token = self._refresh.get(value)
        if token is not None and token.grant.client is client:
            if self._is_usable(token):
                return self._exchange(token)
            if token.spent:
                self._replay(token.grant)
        raise Refusal(client.switches.dead_refresh_status, "Invalid refresh token")

    def _exchange(self, token: Refresh) -> Pair:
        client, grant = token.grant.client, token.grant
        if client.switches.refresh_kills_access or client.public:
            self.kill(token.access)
        access, announced = self._new_user_access(grant, token.access.scopes, None)
        mode = "rotate" if client.public else client.switches.confidential_refresh
        token.spent = mode == "rotate"
        if mode == "same":
            token.access = access
        else:
            token = self._new_refresh(grant, access)
        return self._pair(token, announced)

    def _replay(self, grant: Grant) -> None:
        self._state.counters.replays += 1
        punish = grant.client.switches.punish_replay
        if (grant.client.public if punish is None else punish) and grant.alive:
            self.end(grant)

    def kill(self, token: Access) -> None:
        """One access token dies; its refresh token survives."""
        token.killed = True
        self._live_with(token.client, token.grant).pop(token.value, None)

    def expire(self, token: Access) -> None:
        """The access token's time is over, now."""
        token.expires_at = self._state.now()

    def disconnect(self, client: Client, user: User) -> bool:
        """End the connection between the two, if there is one."""
        grant = self.grant(client, user)
        if grant is not None:
            self.end(grant)
        return grant is not None

    def end(self, grant: Grant) -> None:
        """End a connection: every access and refresh token of it dies."""
        grant.alive = False
        for token in list(grant.live.values()):
            self.kill(token)
        self._grants.pop((grant.client.client_id, grant.user.user_id), None)
        self.on_end(grant)

    def _live_with(self, client: Client, grant: Grant | None) -> dict[str, Access]:
        return grant.live if grant else self._app.setdefault(client.client_id, {})

    def _new_user_access(
        self, grant: Grant, scopes: tuple[str, ...], lifetime: float | None
    ) -> tuple[Access, int | None]:
        self._enforce_limit(grant.client, grant.live)
        usual, surplus = self._state.settings.user_token_lifetime, 0.0
        if lifetime is None:
            lifetime = self._state.draw(usual)
            if not isinstance(usual, int | float):
                surplus = self._state.draw(self._state.settings.validate_surplus)
        return self._new_access(grant.client, grant, scopes, lifetime, surplus)

    def _new_access(
        self,
        client: Client,
        grant: Grant | None,
        scopes: tuple[str, ...],
        lifetime: float,
        surplus: float = 0,
    ) -> tuple[Access, int | None]:
        """With the whole seconds to announce, at least 1; None for a legacy client."""
        legacy = client.switches.legacy
        expires_at = None if legacy else self._state.now() + lifetime + surplus
        token = Access(self._state.token(), client, scopes, expires_at, grant)
        self._access[token.value] = self._live_with(client, grant)[token.value] = token
        return token, None if legacy else max(1, int(lifetime))

    def _new_refresh(self, grant: Grant, access: Access) -> Refresh:
        lifetime = self._state.settings.refresh_token_lifetime
        expires_at = self._state.now() + lifetime if grant.client.public else None
        token = Refresh(self._state.token(REFRESH_LENGTH), grant, access, expires_at)
        self._refresh[token.value] = grant.newest = token
        return token

    def _enforce_limit(self, client: Client, live: dict[str, Access]) -> None:
        limit = client.switches.token_limit
        if len(live) < limit:
            return
        for token in [token for token in live.values() if self._is_past(token.expires_at)]:
            live.pop(token.value)
        for oldest in list(live.values())[: max(0, len(live) - limit + 1)]:
            if client.switches.over_limit == "fail":
                raise Refusal(400, "too many access tokens")  # the real text is not known
            self.kill(oldest)

    def _is_past(self, moment: float | None) -> bool:
        return moment is not None and self._state.now() >= moment

    def _is_usable(self, token: Refresh) -> bool:
        return not token.spent and token.grant.alive and not self._is_past(token.expires_at)

    def _pair(self, token: Refresh, announced: int | None = None) -> Pair:
        access, client, user = token.access, token.grant.client, token.grant.user
        if announced is None and access.expires_at is not None:
            announced = int(max(0, access.expires_at - self._state.now()))
        scopes = access.scopes
        return Pair(access.value, token.value, announced, scopes, client.client_id, user.user_id)
