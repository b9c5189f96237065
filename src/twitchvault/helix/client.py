"""One Helix call: token in, answer out, a dead token renewed.

Twitch answers 401 to missing scopes and wrong client ids too. Only its known words for a dead token
lead straight to a refresh, and only once: every other 401 is settled by a validation.
"""

from __future__ import annotations

import json as jsonlib
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from twitchvault.errors import HTTPException, NotAuthorized, WrongType, WrongValue, fresh_copy
from twitchvault.inputs import base_url
from twitchvault.responses import is_good, json_of, looks_like_json, message_of
from twitchvault.vault.refresh import sign_in_again, unknown_user

if TYPE_CHECKING:
    from twitchvault.http import Answer, HTTPClient
    from twitchvault.loops import LoopBinding
    from twitchvault.vault.record import Record
    from twitchvault.vault.vault import Vault

__all__ = ["HelixClient"]

RENEWALS: Final = 3
"""Newer tokens that one call tries: others may have renewed it too, some time ago."""
_UNAUTHORIZED: Final = 401
_DEAD_TOKEN: Final = frozenset({"invalid oauth token", "invalid access token", "token expired"})
_OTHER_CAUSE: Final = re.compile(
    r"^missing\b.*\bscope|\bclient.?id\b|must match|valid app token|missing user oauth token",
    re.IGNORECASE,
)
"""A 401 that no newer token cures: scopes, client ids, the wrong user or kind of token."""
_SEGMENT: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PATH: Final = re.compile(rf"/?{_SEGMENT}(?:/{_SEGMENT})*/?(?:\?[^\s#\\]*)?")
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
_MOST_DIGITS: Final = 9


class HelixClient:
    """Sends Helix calls with the tokens of a vault and notes the points left."""

    def __init__(self, http: HTTPClient, vault: Vault, binding: LoopBinding, api_url: str) -> None:
        self.vault = vault
        self.binding = binding
        self._http = http
        self.api_url = base_url("api_url", api_url) + "/"
        self.authorized = False
        """Whether `authorize()` has been called, and neither `clear()` nor `close()` since."""
        self.points_left: dict[str, int] = {}
        """User id → the points left in the user's bucket as Twitch last reported."""
        self._contradicted: set[str] = set()

    def clear(self) -> None:
        """Forget what the answers said."""
        self.points_left.clear()
        self._contradicted.clear()

    def record(self, user_id: str) -> Record:
        """The record of a user; `TokenError` if there is none, or the error of a damaged one."""
        record = self.vault.record(user_id)
        if record is not None:
            return record
        if not self.authorized:
            raise NotAuthorized("the flow is not open: call 'await flow.authorize()' first")
        if user_id == self._http.client_id:
            msg = "the app token is gone: call 'await flow.authorize()' to get another one"
            raise NotAuthorized(msg)
        raise unknown_user(user_id)

    async def call(
        self,
        user_id: str,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        json: object = None,
    ) -> dict[str, Any]:
        """The JSON object that Helix answers, {} for an empty answer; else an `HTTPException`."""
        request = {"method": _method(method), "url": self._url(path), "json": json}
        request["params"] = _query(params)
        record = self.record(user_id)
        answer = await self._send(user_id, record, request)
        for renewal in range(RENEWALS):
            newer = await self._newer(user_id, record, answer, first=renewal == 0)
            if newer is None:
                break
            record = newer
            answer = await self._send(user_id, record, request)
        content = json_of(answer, record.access_token)
        if content is None:
            return {}
        return content if isinstance(content, dict) else {"data": content}

    async def _send(self, user_id: str, record: Record, request: dict[str, Any]) -> Answer:
        if record.access_refused:
            raise sign_in_again(user_id, record)
        token = record.access_token
        headers = {"Authorization": f"Bearer {token}", "Client-Id": self._http.client_id}
        answer = await self._http.send(**request, headers=headers)
        if is_good(answer) and looks_like_json(answer):
            self._contradicted.discard(user_id)
            self.vault.accepted(user_id, token)
        left = answer.headers.get("Ratelimit-Remaining", "")
        if left.isdecimal() and len(left) <= _MOST_DIGITS:
            self.points_left[user_id] = int(left)
        return answer

    async def _newer(
        self, user_id: str, refused: Record, answer: Answer, *, first: bool
    ) -> Record | None:
        """A newer record if the answer refused the token of this one, else None."""
        if answer.status != _UNAUTHORIZED:
            return None
        words = message_of(answer)
        if _OTHER_CAUSE.search(words):
            return None
        known = words.casefold() in _DEAD_TOKEN and user_id not in self._contradicted
        began = time.monotonic()
        try:
            if known and first:
                return await self.vault.renew(user_id, refused)
            token = await self.vault.renew_refused(user_id, refused.access_token)
        except HTTPException as error:
            failure = fresh_copy(error)
            text = error.message or "the answer carries no message"
            after = f"after {time.monotonic() - began:.1f} s"
            failure.message = f"the refresh of user {user_id!r} failed {after}: {text}"
            failure.args = (failure.status, failure.message)
            raise failure from None
        if token != refused.access_token:
            return self.record(user_id)
        # Helix and the identity service contradict each other: Helix is not believed any more,
        # until it accepts a token, or each call would spend a refresh token.
        self._contradicted.add(user_id)
        return None

    def _url(self, path: str) -> str:
        # A token must not go anywhere but to the API.
        if not isinstance(path, str) or not path.isprintable() or not _PATH.fullmatch(path):
            msg = f"'path' must be a path below the API's base, like 'users', not {path!r}"
            raise WrongValue(msg)
        return self.api_url + path.lstrip("/")


def _method(method: object) -> str:
    name = str(method).upper()
    if name not in _METHODS:
        raise WrongValue(f"'method' must be one of {', '.join(_METHODS)}, not {method!r}")
    return name


def _query(params: object) -> list[tuple[str, str]]:
    if params is None:
        return []
    if not isinstance(params, Mapping):
        msg = f"'params' must be a mapping from names to values, not {type(params).__name__}"
        raise WrongType(msg)
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        pairs += [(_text(name), _text(each)) for each in values if each is not None]
    return pairs


def _text(value: object) -> str:
    if not isinstance(value, str | int | float):
        msg = f"'params' must hold str, int, float, bool and lists of them, not {value!r}"
        raise WrongType(msg)
    try:
        # A member of an enum is sent as its value, a bool as true or false.
        if isinstance(value, str):
            return value.encode().decode()
        return jsonlib.dumps(value, allow_nan=False)
    except ValueError as error:
        raise WrongValue(f"'params' holds what cannot be sent: {error}") from None
