"""Helix, as far as tokens are concerned: authorization, rate limit, users, resources."""

from __future__ import annotations

import math
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from json import loads
from typing import TYPE_CHECKING, Final

from .messages import Answer, Call, encode, helix_answer, helix_error
from .model import Refusal

if TYPE_CHECKING:
    from .eventsub import EventSub
    from .model import User
    from .state import State
    from .tokens import Access, Tokens

MAX_PAGE: Final = 100
CREATED_AT: Final = "2016-12-14T20:32:28Z"
WITHOUT_RATE_LIMIT: Final = frozenset({400, 401})
"""Answers with these statuses have no Ratelimit-* headers, as recorded."""


@dataclass(eq=False)
class Resource:
    """A canned endpoint: `needs` is "user", "app" or None."""

    items: tuple[object, ...]
    scope: str | None
    needs: str | None

    def serve(self, call: Call, token: Access) -> Answer:
        """Check what is needed; a page of the items, or what was sent."""
        if self.needs == "user" and token.user is None:
            raise Refusal(401, "Missing User OAUTH Token")
        if self.needs == "app" and token.user is not None:
            raise Refusal(401, "Must provide valid app token.")
        if self.scope is not None and self.scope not in token.scopes:
            raise Refusal(401, f"Missing scope: {self.scope}")
        if call.method == "GET":
            return _page(call, self.items)
        if call.method == "DELETE":
            return Answer(204)
        return helix_answer(200, {"data": [] if call.json is None else [call.json]})


class Helix:
    """The handler of everything under /helix/."""

    def __init__(self, state: State, tokens: Tokens, eventsub: EventSub) -> None:
        self._state = state
        self._eventsub = eventsub
        self._tokens = tokens
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self.resources: dict[str, Resource] = {}

    def handle(self, call: Call) -> Answer:
        """Check the token, take a point, answer."""
        try:
            token = self._authorize(call)
            if self._points(token) < 1:
                raise Refusal(429, "Request limit exceeded")
            self._points(token, take=1)
            return self._endpoint(call, token)
        except Refusal as refusal:
            return helix_error(refusal.status, refusal.message)

    def add_rate_limit_headers(self, call: Call, answer: Answer) -> None:
        """Put the Ratelimit-* headers on an answer, unless it has them or should have none."""
        settings = self._state.settings
        if not settings.helix_headers or answer.status in WITHOUT_RATE_LIMIT:
            return
        token = self._tokens.find(call.credentials[1])
        points = settings.helix_limit if token is None else self._points(token)
        full_in = (settings.helix_limit - points) * 60 / max(settings.helix_refill, 1e-9)
        headers = {
            "Ratelimit-Limit": str(settings.helix_limit),
            "Ratelimit-Remaining": str(max(0, int(points))),
            # The caller compares with its own clock, which `advance` does not move.
            "Ratelimit-Reset": str(math.ceil(time.time() + full_in)),
        }
        answer.headers = headers | answer.headers

    def _authorize(self, call: Call) -> Access:
        scheme, value = call.credentials
        if scheme != "bearer" or not value:
            raise Refusal(401, "OAuth token is missing")
        client_id = call.headers.get("Client-Id")
        if not client_id:
            raise Refusal(401, "Client ID is missing")
        token = self._tokens.find_valid(value)
        if token is None:
            raise Refusal(401, "Invalid OAuth token")
        if client_id != token.client.client_id:
            raise Refusal(401, "Client ID and OAuth token do not match")
        return token

    def _points(self, token: Access, take: int = 0) -> float:
        """What is left in the bucket of a client and user, which is refilled continuously."""
        settings, now = self._state.settings, self._state.now()
        key = (token.client.client_id, token.user.user_id if token.user else "")
        points, filled_at = self._buckets.get(key, (settings.helix_limit, now))
        points += (now - filled_at) * settings.helix_refill / 60
        left = min(settings.helix_limit, points) - take
        self._buckets[key] = (left, now)
        return left

    def _endpoint(self, call: Call, token: Access) -> Answer:
        path = call.path.removeprefix("/helix/")
        if path in self.resources:
            return self.resources[path].serve(call, token)
        if path == "users" and call.method == "GET":
            return self._users(call, token)
        if path == "eventsub/subscriptions":
            return self._eventsub.handle(call, token)
        raise Refusal(404, "")

    def _users(self, call: Call, token: Access) -> Answer:
        ids, logins = call.query.getall("id", []), call.query.getall("login", [])
        if len(ids) + len(logins) > MAX_PAGE:
            raise Refusal(400, "The number of IDs and logins exceeds the maximum of 100")
        if not all(user_id.isdecimal() for user_id in ids):
            raise Refusal(400, 'The parameter "id" was malformed: value must be a numeric')
        users = self._state.users
        if ids or logins:
            found = [users[user_id] for user_id in ids if user_id in users]
            found += [user for user in users.values() if user.login in logins]
        elif token.user is None:
            raise Refusal(400, "Must provide an ID, Login or OAuth Token")
        else:
            found = [token.user]
        return helix_answer(200, {"data": [_profile(user, token) for user in dict.fromkeys(found)]})


def _page(call: Call, items: tuple[object, ...]) -> Answer:
    size, malformed = call.query.get("first", "20"), 'The parameter "first" was malformed'
    if not size.isdecimal() or int(size) < 1:
        raise Refusal(400, f"{malformed}: value must be a numeric")
    if int(size) > MAX_PAGE:
        raise Refusal(400, f"{malformed}: the value must be less than or equal to {MAX_PAGE}")
    try:
        start = int(loads(b64decode(call.query.get("after", _cursor(0))))["s"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, "Invalid cursor.") from None
    end = start + int(size)
    pagination = {"cursor": _cursor(end)} if end < len(items) else {}
    return helix_answer(200, {"data": items[start:end], "pagination": pagination})


def _cursor(start: int) -> str:
    return b64encode(encode({"s": start, "d": False, "t": True}, end="")).decode()


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
