"""Helix, as far as tokens are concerned: the gate, the rate limit, /helix/users, and resources."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .messages import Answer, Call, credentials, encode, helix_error
from .model import Refusal

if TYPE_CHECKING:
    from .model import User
    from .state import State
    from .tokens import Access, Tokens

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
CREATED_AT: Final = "2016-12-14T20:32:28Z"

_UNAUTHORIZED: Final = 401


@dataclass(eq=False)
class Resource:
    """A canned endpoint: `needs` is "user", "app" or None."""

    items: tuple[object, ...]
    scope: str | None
    needs: str | None


@dataclass(eq=False, slots=True)
class Bucket:
    """Points left at a moment; refilled continuously."""

    points: float
    filled_at: float


class Helix:
    """The handler of everything under /helix/."""

    def __init__(self, state: State, tokens: Tokens) -> None:
        self._state = state
        self._tokens = tokens
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self.resources: dict[str, Resource] = {}

    def handle(self, call: Call) -> Answer:
        """Gate, rate limit, then the endpoint."""
        self._state.counters["helix_calls"] += 1
        try:
            token = self._authorize(call)
            bucket = self._bucket(token)
            if bucket.points < 1:
                self._state.counters["rate_limited"] += 1
                raise Refusal(429, "Request limit exceeded")
            bucket.points -= 1
            return self._endpoint(call, token)
        except Refusal as refusal:
            if refusal.status == _UNAUTHORIZED:
                self._state.counters["helix_unauthorized"] += 1
            return helix_error(refusal.status, refusal.message)

    def add_rate_limit_headers(self, call: Call, answer: Answer) -> None:
        """Put the Ratelimit-* headers on an answer, unless it has them or they are switched off."""
        settings = self._state.settings
        if not settings.helix_headers:
            return
        token = self._tokens.find(credentials(call)[1])
        points = settings.helix_limit if token is None else self._bucket(token).points
        full_in = (settings.helix_limit - points) * 60 / max(settings.helix_refill, 1e-9)
        headers = {
            "Ratelimit-Limit": str(settings.helix_limit),
            "Ratelimit-Remaining": str(max(0, int(points))),
            # The caller compares with its own clock, which `advance` does not move.
            "Ratelimit-Reset": str(math.ceil(time.time() + full_in)),
        }
        answer.headers = headers | answer.headers

    # The gate

    def _authorize(self, call: Call) -> Access:
        scheme, value = credentials(call)
        if scheme != "bearer" or not value:
            raise Refusal(401, "OAuth token is missing")
        token = self._tokens.find_valid(value)
        if token is None:
            raise Refusal(401, "Invalid OAuth token")
        if call.headers.get("Client-Id") != token.client.client_id:
            raise Refusal(401, "Client ID and OAuth token do not match")
        return token

    # The rate limit

    def _bucket(self, token: Access) -> Bucket:
        settings, now = self._state.settings, self._state.now()
        key = (token.client.client_id, token.user.user_id if token.user else "")
        bucket = self._buckets.setdefault(key, Bucket(settings.helix_limit, now))
        refill = (now - bucket.filled_at) * settings.helix_refill / 60
        bucket.points = min(settings.helix_limit, bucket.points + refill)
        bucket.filled_at = now
        return bucket

    # Endpoints

    def _endpoint(self, call: Call, token: Access) -> Answer:
        path = call.path.removeprefix("/helix/")
        if path in self.resources:
            return self._resource(call, self.resources[path], token)
        if path == "users" and call.method == "GET":
            return self._users(call, token)
        raise Refusal(404, "")

    def _users(self, call: Call, token: Access) -> Answer:
        ids, logins = _all(call, "id"), _all(call, "login")
        if len(ids) + len(logins) > MAX_PAGE:
            raise Refusal(400, "The number of IDs and logins exceeds the maximum of 100")
        if not all(identity.isdecimal() for identity in ids):
            raise Refusal(400, 'The parameter "id" was malformed: value must be a numeric')
        if ids or logins:
            found = [
                self._state.users[identity] for identity in ids if identity in self._state.users
            ]
            found += [user for user in self._state.users.values() if user.login in logins]
        elif token.user is None:
            raise Refusal(400, "Must provide an ID, Login or OAuth Token")
        else:
            found = [token.user]
        return _data([_profile(user, token) for user in dict.fromkeys(found)])

    def _resource(self, call: Call, resource: Resource, token: Access) -> Answer:
        if resource.needs == "user" and token.user is None:
            raise Refusal(401, "Missing User OAUTH Token")
        if resource.needs == "app" and token.user is not None:
            raise Refusal(401, "Must provide valid app token.")
        if resource.scope is not None and resource.scope not in token.scopes:
            raise Refusal(401, f"Missing scope: {resource.scope}")
        if call.method == "GET":
            return _page(call, resource.items)
        if call.method == "DELETE":
            return Answer(204)
        return _data([] if call.json is None else [call.json])


def _page(call: Call, items: tuple[object, ...]) -> Answer:
    size = _number(call, "first", DEFAULT_PAGE)
    if size > MAX_PAGE:
        text = f"the value must be less than or equal to {MAX_PAGE}"
        raise Refusal(400, f'The parameter "first" was malformed: {text}')
    start = _cursor(call.query.get("after"), len(items))
    end = start + size
    pagination = {"cursor": f"c{end}"} if end < len(items) else {}
    return Answer(200, encode({"data": items[start:end], "pagination": pagination}))


def _cursor(after: str | None, total: int) -> int:
    if after is None:
        return 0
    digits = after.removeprefix("c")
    if not after.startswith("c") or not digits.isdecimal() or int(digits) > total:
        raise Refusal(400, "Invalid cursor.")
    return int(digits)


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise Refusal(400, f'The parameter "{name}" was malformed: value must be a numeric')
    return int(text)


def _all(call: Call, name: str) -> list[str]:
    return call.query.getall(name, [])


def _data(items: list[object]) -> Answer:
    return Answer(200, encode({"data": items}))


def _profile(user: User, token: Access) -> dict[str, object]:
    profile: dict[str, object] = {
        "id": user.user_id,
        "login": user.login,
        "display_name": user.display_name,
        "type": "",
        "broadcaster_type": "",
        "description": "",
        "profile_image_url": f"https://static.example/{user.user_id}-300x300.png",
        "offline_image_url": "",
        "view_count": 0,
        "created_at": CREATED_AT,
    }
    if user is token.user and "user:read:email" in token.scopes:
        profile["email"] = f"{user.login}@mail.example"
    return profile
