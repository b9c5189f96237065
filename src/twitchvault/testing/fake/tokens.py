"""Tokens: how they are issued, exchanged and killed. The rules of Twitch, and no HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .model import Pair, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .model import Client, User
    from .state import State

REFRESH_LENGTH: Final = 50
IMPLICIT_LIFETIME: Final = 60 * 86_400.0


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
    """The connection of a user to an application: what a disconnect or a replay ends."""

    client: Client
    user: User
    alive: bool = True
    scopes: set[str] = field(default_factory=set)
    live: dict[str, Access] = field(default_factory=dict)
    newest: Refresh | None = None


class Tokens:
    """All tokens that were ever issued, dead ones too: a spent one must be known as spent."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._access: dict[str, Access] = {}
        self._refresh: dict[str, Refresh] = {}
        self._grants: dict[tuple[str, str], Grant] = {}
        self._app: dict[str, dict[str, Access]] = {}

    # Looking

    def find(self, value: str) -> Access | None:
        """The access token of that value, dead or alive."""
        return self._access.get(value)

    def is_live(self, token: Access) -> bool:
        """Whether it works at this moment."""
        return not token.killed and not self._is_past(token.expires_at)

    def is_live_refresh(self, value: str) -> bool:
        """Whether a refresh token would be exchanged at this moment."""
        token = self._refresh.get(value)
        if token is None or token.spent or not token.grant.alive:
            return False
        return not self._is_past(token.expires_at)

    def find_valid(self, value: str) -> Access | None:
        """A live access token, or None; one found expired is counted, once."""
        token = self._access.get(value)
        if token is None or token.killed:
            return None
        if not self._is_past(token.expires_at):
            return token
        if not token.seen_expired:
            token.seen_expired = True
            self._state.counters["expiries"] += 1
        return None

    def grant(self, client: Client, user: User) -> Grant | None:
        """The live connection between the two."""
        return self._grants.get((client.client_id, user.user_id))

    def newest(self, client: Client, user: User) -> Pair | None:
        """The pair that was issued last, unless the connection has ended."""
        grant = self.grant(client, user)
        if grant is None or grant.newest is None:
            return None
        return self._pair(grant.newest, None)

    def live_tokens_of(self, user: User, client: Client | None = None) -> list[Access]:
        """A user's access tokens that nothing has killed."""
        return [
            token
            for grant in self._grants_of(user)
            if client in {None, grant.client}
            for token in grant.live.values()
        ]

    # Issuing

    def issue(
        self, client: Client, user: User, scopes: Iterable[str], lifetime: float | None = None
    ) -> Pair:
        """A new pair after consent; `lifetime` seconds instead of the settings' (0: expired)."""
        if client.switches.reconsent == "replace":
            self.disconnect(client, user)
        grant = self._open_grant(client, user)
        granted = tuple(dict.fromkeys(scopes))
        grant.scopes.update(granted)
        access, announced = self._new_user_access(grant, granted, lifetime)
        return self._pair(self._new_refresh(grant, access), announced)

    def issue_implicit(self, client: Client, user: User, scopes: Iterable[str]) -> Access:
        """A lone access token of some 60 days, as the implicit flow gives it."""
        grant = self._open_grant(client, user)
        grant.scopes.update(scopes)
        return self._new_access(client, tuple(scopes), IMPLICIT_LIFETIME, grant)

    def issue_app(self, client: Client) -> tuple[Access, int | None]:
        """A new app token and the seconds to announced_lifetime."""
        lifetime = self._state.draw(self._state.settings.app_token_lifetime)
        if client.switches.limit_app_tokens:
            self._enforce_limit(client, self._app.setdefault(client.client_id, {}))
        token = self._new_access(client, (), lifetime, None)
        return token, announced_lifetime(client, lifetime)

    def refresh(self, client: Client, presented: str) -> Pair:
        """Exchange a refresh token, or refuse it; a replay punishes."""
        token = self._refresh.get(presented)
        if token is None or token.grant.client is not client:
            raise _invalid_refresh_token(client)
        if token.spent:
            self._replay(token)
            raise _invalid_refresh_token(client)
        if not token.grant.alive or self._is_past(token.expires_at):
            raise _invalid_refresh_token(client)
        return self._exchange(token)

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
        self._state.counters["exchanges"] += 1
        return self._pair(token, announced)

    def _replay(self, token: Refresh) -> None:
        self._state.counters["replays"] += 1
        client = token.grant.client
        punish = client.switches.punish_replay
        if (client.public if punish is None else punish) and token.grant.alive:
            self._end_grant(token.grant)

    # Killing

    def kill(self, token: Access) -> None:
        """One access token dies; its refresh token survives."""
        token.killed = True
        if token.grant is not None:
            token.grant.live.pop(token.value, None)
        else:
            self._app.get(token.client.client_id, {}).pop(token.value, None)

    def expire(self, token: Access) -> None:
        """The access token's time is over, now."""
        token.expires_at = self._state.now()

    def kill_app_tokens(self, client: Client) -> int:
        """All app tokens of a client die; returns how many."""
        victims = list(self._app.get(client.client_id, {}).values())
        for token in victims:
            self.kill(token)
        return len(victims)

    def disconnect(self, client: Client, user: User) -> bool:
        """End the connection: every access and refresh token of it dies."""
        grant = self.grant(client, user)
        if grant is not None:
            self._end_grant(grant)
        return grant is not None

    def change_password(self, user: User) -> int:
        """End all connections of a user; returns how many."""
        grants = self._grants_of(user)
        for grant in grants:
            self._end_grant(grant)
        return len(grants)

    def _end_grant(self, grant: Grant) -> None:
        grant.alive = False
        for token in list(grant.live.values()):
            self.kill(token)
        self._grants.pop((grant.client.client_id, grant.user.user_id), None)

    # Making

    def _grants_of(self, user: User) -> list[Grant]:
        return [grant for grant in self._grants.values() if grant.user is user]

    def _open_grant(self, client: Client, user: User) -> Grant:
        return self._grants.setdefault((client.client_id, user.user_id), Grant(client, user))

    def _new_user_access(
        self, grant: Grant, scopes: tuple[str, ...], lifetime: float | None
    ) -> tuple[Access, int | None]:
        settings = self._state.settings
        self._enforce_limit(grant.client, grant.live)
        if lifetime is None:
            announced = self._state.draw(settings.user_token_lifetime)
            exact = isinstance(settings.user_token_lifetime, int | float)
            actual = announced if exact else announced + self._state.draw(settings.validate_surplus)
        else:
            announced = actual = lifetime
        token = self._new_access(grant.client, scopes, actual, grant)
        return token, announced_lifetime(grant.client, announced)

    def _new_access(
        self, client: Client, scopes: tuple[str, ...], lifetime: float, grant: Grant | None
    ) -> Access:
        expires_at = None if client.switches.legacy else self._state.now() + lifetime
        token = Access(self._state.token(), client, scopes, expires_at, grant)
        self._access[token.value] = token
        live = grant.live if grant else self._app.setdefault(client.client_id, {})
        live[token.value] = token
        return token

    def _new_refresh(self, grant: Grant, access: Access) -> Refresh:
        lifetime = self._state.settings.refresh_token_lifetime
        expires_at = self._state.now() + lifetime if grant.client.public else None
        token = Refresh(self._state.token(REFRESH_LENGTH), grant, access, expires_at)
        self._refresh[token.value] = token
        grant.newest = token
        return token

    def _enforce_limit(self, client: Client, live: dict[str, Access]) -> None:
        if len(live) < client.switches.token_limit:
            return
        for token in [token for token in live.values() if self._is_past(token.expires_at)]:
            live.pop(token.value)
        for oldest in list(_surplus(live, client.switches.token_limit)):
            if client.switches.over_limit == "fail":
                raise Refusal(400, "too many access tokens")  # the real text is not known
            self.kill(oldest)

    def _is_past(self, moment: float | None) -> bool:
        return moment is not None and self._state.now() >= moment

    def _pair(self, token: Refresh, announced: int | None) -> Pair:
        client, user, scopes = token.grant.client, token.grant.user, token.access.scopes
        if announced is None and token.access.expires_at is not None:
            announced = int(max(0, token.access.expires_at - self._state.now()))
        return Pair(
            token.access.value, token.value, announced, scopes, client.client_id, user.user_id
        )


def announced_lifetime(client: Client, lifetime: float) -> int | None:
    """Whole seconds for the token answer, at least 1; None for a legacy client."""
    return None if client.switches.legacy else max(1, int(lifetime))


def _invalid_refresh_token(client: Client) -> Refusal:
    return Refusal(client.switches.dead_refresh_status, "Invalid refresh token")


def _surplus(live: dict[str, Access], limit: int) -> Iterator[Access]:
    count = len(live) - limit + 1
    return (token for _, token in zip(range(count), live.values(), strict=False))
