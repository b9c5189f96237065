"""Twitch: the double's rules without HTTP, on the virtual clock, and what it may say instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tests.simulation.facts import NEVER
from twitchvault.testing.fake.eventsub import EventSub
from twitchvault.testing.fake.helix import Helix, Resource
from twitchvault.testing.fake.identity import Identity
from twitchvault.testing.fake.logins import Logins
from twitchvault.testing.fake.messages import (
    HTML,
    HTML_PAGE,
    JSON,
    TEXT,
    Answer,
    encode,
    helix_error,
    identity_error,
    not_found,
)
from twitchvault.testing.fake.model import Client, Refusal, Settings, Switches
from twitchvault.testing.fake.model import Pair as Issued
from twitchvault.testing.fake.model import User as TwitchUser
from twitchvault.testing.fake.openid import IdTokens
from twitchvault.testing.fake.state import State
from twitchvault.testing.fake.tokens import REFRESH_LENGTH, Access, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.facts import Pair, Request
    from tests.simulation.world import World
    from twitchvault.testing.fake.messages import Call

__all__ = ["EPOCH", "INSTEAD", "RESOURCE", "SCOPES", "Twitch"]

EPOCH: Final = 1_700_000_000.0
"""What a right wall clock shows when the virtual time is 0."""
CLIENT_ID: Final = "client0000"
RESOURCE: Final = "me"
"""The Helix resource that the simulated calls ask for."""
SECRET: Final = "client0secret"
SCOPES: Final = ("chat:read",)


class _Answered(msgspec.Struct):
    """The tokens in an answer."""

    access_token: str
    refresh_token: str


_decode = msgspec.json.Decoder(_Answered).decode


def _rfc(status: int, error: str) -> Answer:
    return Answer(status, encode({"error": error, "error_description": "as RFC 6749 says it"}))


def _page(status: int) -> Answer:
    return Answer(status, HTML_PAGE.encode(), HTML)


INSTEAD: Final[Mapping[str, Answer]] = {
    "400 invalid client": identity_error(400, "invalid client"),
    "400 missing client secret": identity_error(400, "missing client secret"),
    "400 missing refresh token": identity_error(400, "missing refresh token"),
    "400 unknown scope": identity_error(400, "invalid scope requested: 'x'"),
    "400 invalid_client": _rfc(400, "invalid_client"),
    "400 HTML": _page(400),
    "401 HTML": _page(401),
    "401 empty": Answer(401),
    "401 gateway": Answer(401, encode({"message": "Unauthorized"})),
    "401 invalid_client": _rfc(401, "invalid_client"),
    "401 Unauthorized": identity_error(401, "Unauthorized"),
    "401 invalid access token": identity_error(401, "invalid access token"),
    "403 invalid client secret": identity_error(403, "invalid client secret"),
    "404 text": not_found(),
    "429 empty": Answer(429),
    "429 JSON": helix_error(429, "Request limit exceeded"),
    "500 JSON": identity_error(500, ""),
    "500 empty": Answer(500),
    "502 HTML": _page(502),
    "503 HTML": _page(503),
    "503 JSON": identity_error(503, ""),
    "200 HTML": _page(200),
    "200 cut off": Answer(200, b'{"access_token":"acc', JSON),
    "200 without tokens": Answer(200, b"{}\n", JSON),
    "200 text": Answer(200, b"ok\n", TEXT),
    "helix 401 scope": helix_error(401, "Missing scope: channel:manage:polls"),
    "helix 401 missing": helix_error(401, "OAuth token is missing"),
}
"""What may stand in the place of the right answer, each on its own endpoints."""


class SimState(State):
    """The double's ground on the virtual clock; tokens are numbered."""

    def __init__(self, settings: Settings, seed: int, world: World) -> None:
        super().__init__(settings, seed)
        self._loop = world.loop
        self._issued = {"access": 0, "refresh": 0}

    def now(self) -> float:
        """Seconds since the epoch."""
        return EPOCH + self._loop.now

    def token(self, length: int = 30) -> str:
        """`access00001` and so on."""
        kind = "refresh" if length == REFRESH_LENGTH else "access"
        self._issued[kind] += 1
        return f"{kind}{self._issued[kind]:05}"


class SimTokens(Tokens):
    """The double's tokens; which died by something else than their refresh stands in the books."""

    def __init__(self, state: State, world: World) -> None:
        super().__init__(state)
        self._world = world
        self._replaced: Pair | None = None

    def refresh(self, client: Client, value: str) -> Issued:
        """As `Tokens.refresh`."""
        self._replaced = self._world.books.of_refresh.get(value)
        try:
            return super().refresh(client, value)
        finally:
            self._replaced = None

    def kill(self, token: Access) -> None:
        """As `Tokens.kill`."""
        super().kill(token)
        self._world.books.died_access(token.value, self._world.loop.now)
        if self._replaced is None or self._replaced.access != token.value:
            self._world.books.killed.setdefault(token.value, self._world.loop.now)


class Twitch:
    """One application and its users at Twitch. Whatever it commits stands in the books."""

    def __init__(self, world: World, seed: int) -> None:
        profile = world.profile
        settings = Settings(
            user_token_lifetime=profile.lifetime,
            validate_surplus=(0.0, profile.lifetime / 20),
        )
        self._world = world
        self._books = world.books
        self._state = SimState(settings, seed, world)
        self._tokens = SimTokens(self._state, world)
        logins = Logins(self._state, self._tokens)
        self._identity = Identity(self._state, self._tokens, logins, IdTokens(self._state))
        self._helix = Helix(self._state, self._tokens, EventSub(self._state))
        self._helix.resources[RESOURCE] = Resource((), None, "user")
        secret = None if profile.public else SECRET
        switches = Switches(**profile.switches)
        self.client = self._state.add_client(Client(CLIENT_ID, secret, switches=switches))
        self.users = [self._state.add_user(f"user{n}", None, None) for n in range(profile.users)]

    # What users and others do

    def consent(self, user: str, *, expired: bool = False) -> Pair:
        """A login: a new pair."""
        lifetime = 0.0 if expired else None
        issued = self._tokens.issue(self.client, self._user(user), SCOPES, lifetime)
        return self._books.login(
            user, issued.access_token, issued.refresh_token, self._world.loop.now
        )

    def disconnect(self, user: str) -> None:
        """The user ends the connection."""
        self._tokens.disconnect(self.client, self._user(user))

    def kill(self, access: str, *, expire: bool) -> None:
        """An access token dies before its time."""
        token = self._tokens.find(access)
        if token is None:
            return
        if expire:
            self._tokens.expire(token)
        else:
            self._tokens.kill(token)
        self._books.killed.setdefault(access, self._world.loop.now)
        self._books.died_access(access, self._world.loop.now)

    def exchange_outside(self, pair: Pair) -> None:
        """Somebody who has a copy of the refresh token exchanges it."""
        if self.takes_refresh(pair.refresh):
            old = self._books.of_refresh[pair.refresh]
            issued = self._tokens.refresh(self.client, pair.refresh)
            new = self._exchanged(old, issued.access_token, issued.refresh_token, None)
            self._world.note("Twitch", "somebody outside exchanged", old, new)

    # What is true

    def takes_refresh(self, refresh: str | None) -> bool:
        """Whether a refresh token would be exchanged now."""
        return refresh is not None and self._tokens.is_live_refresh(refresh)

    def takes(self, access: str) -> bool:
        """Whether an access token works now."""
        token = self._tokens.find(access)
        return token is not None and self._tokens.is_live(token)

    def expiry(self, access: str) -> float:
        """The virtual time at which an access token runs out by itself."""
        token = self._tokens.find(access)
        ends = None if token is None else token.expires_at
        return float("inf") if ends is None else ends - EPOCH

    def _user(self, user: str) -> TwitchUser:
        return self._state.users[user]

    # Requests

    def handle(self, request: Request, call: Call) -> Answer:
        """Commit a request and answer it."""
        try:
            if request.endpoint == "helix":
                return self._helix.handle(call)
            if request.endpoint == "refresh":
                return self._refresh(request, call)
            if request.endpoint == "validate":
                return self._identity.validate(call)
            if request.endpoint == "revoke":
                return self._identity.revoke(call)
            return self._identity.token(call)
        except Refusal as refusal:
            return self._refusal(refusal)

    def _refusal(self, refusal: Refusal) -> Answer:
        message = refusal.message
        if message == "Invalid refresh token" and self._world.profile.rfc_refusals:
            return _rfc(refusal.status, "invalid_grant")
        return identity_error(refusal.status, message)

    def _refresh(self, request: Request, call: Call) -> Answer:
        old = self._books.of_refresh.get(request.token)
        replays = self._state.counters.replays
        try:
            answer = self._identity.token(call)
        except Refusal:
            if self._state.counters.replays > replays and old is not None:
                self._world.replayed(request, old)
            raise
        if old is not None:
            issued = _decode(answer.body)
            pair = self._exchanged(old, issued.access_token, issued.refresh_token, request)
            self._world.exchanged(request, pair)
            if request.fate.startswith("repeat"):
                answer.body = answer.body.replace(pair.access.encode(), old.access.encode())
                self._repeat(pair, old, alive=request.fate == "repeat alive")
        return answer

    def _exchanged(self, old: Pair, access: str, refresh: str, by: Request | None) -> Pair:
        return self._books.exchanged(old, access, refresh, by, self._world.loop.now)

    def _repeat(self, pair: Pair, old: Pair, *, alive: bool) -> None:
        # The answer of an exchange brings the access token that it replaces, alive or dead.
        former, new = self._tokens.find(old.access), self._tokens.find(pair.access)
        if former is None or new is None or former.grant is None:
            return
        self._tokens.kill(new)
        grant = former.grant
        if grant.newest is not None:
            grant.newest.access = former
        if alive:
            former.killed, former.expires_at = False, new.expires_at
            grant.live[former.value] = former
            pair.dead_at = NEVER
        self._books.reached_by(pair, former.value)
