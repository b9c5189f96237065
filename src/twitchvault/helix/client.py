"""One Helix call: token in, answer out, a dead token renewed.

Twitch answers 401 to missing scopes and wrong client ids too, and a refresh for those would spend a
one-use token for nothing. So only its known words for a dead token lead straight to a refresh.
Words that we do not know are settled by a validation.
"""

from __future__ import annotations

import json as jsonlib
import re
from typing import TYPE_CHECKING, Any, Final

from twitchvault.errors import AuthFailure, HTTPException, TokenError, WrongType, fresh_copy
from twitchvault.http import HELIX_LIMIT, Answer
from twitchvault.identity import base_url
from twitchvault.responses import is_good, json_of, message_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.http import HTTPClient
    from twitchvault.loops import LoopBinding
    from twitchvault.vault.record import Record
    from twitchvault.vault.vault import Vault

__all__ = ["HelixClient"]


RENEWALS: Final = 3
"""Newer tokens that one call tries: others may have renewed too, some time ago."""
UNAUTHORIZED: Final = 401
_DEAD_TOKEN: Final = frozenset({"invalid oauth token", "invalid access token", "token expired"})
_OTHER_CAUSE: Final = re.compile(
    r"^missing\b.*\bscope|\bclient.?id\b|must match|valid app token|missing user oauth token",
    re.IGNORECASE,
)
"""A 401 that no newer token cures: scopes, client ids, the wrong user or kind of token."""
_SEGMENT: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PATH: Final = re.compile(rf"/?{_SEGMENT}(?:/{_SEGMENT})*/?(?:\?[^\s#\\]*)?")
_MOST_DIGITS: Final = 9


class HelixClient:
    """Sends Helix calls with the tokens of a vault and notes the points left."""

    def __init__(self, http: HTTPClient, vault: Vault, binding: LoopBinding, api_url: str) -> None:
        self.vault = vault
        self.binding = binding
        self._http = http
        self._api_url = base_url("api_url", api_url) + "/"
        self._points: dict[str, int] = {}

    def points_left(self, user_id: str) -> int | None:
        """The points left in the bucket of this user as Twitch last reported, or None."""
        return self._points.get(user_id)

    def clear(self) -> None:
        """Forget the points."""
        self._points.clear()

    def record(self, user_id: str) -> Record:
        """The record of a user; `TokenError` if there is none, or the error of a damaged one."""
        record = self.vault.record(user_id)
        if record is None:
            msg = f"no token is stored for user {user_id!r}; sign the user in first"
            raise TokenError(msg)
        return record

    async def call(
        self,
        user_id: str,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        json: object = None,
    ) -> dict[str, Any]:
        """The JSON object that Helix answers, {} for an empty answer; else an `HTTPException`."""
        url, query = self._url(path), _query(params or {})
        _check_json(json)  # here, where no frame holds a token yet
        record = self.record(user_id)
        answer = await self._send(user_id, record, method.upper(), url, query, json)
        for _ in range(RENEWALS):
            newer = await self._newer(user_id, record, answer)
            if newer is None:
                break
            record = newer
            answer = await self._send(user_id, record, method.upper(), url, query, json)
        return _content(answer, record.access_token)

    async def _send(
        self,
        user_id: str,
        record: Record,
        method: str,
        url: str,
        query: list[tuple[str, str]],
        json: object,
    ) -> Answer:
        if record.access_refused:
            msg = f"user {user_id!r} has to sign in again: {record.reason}"
            raise AuthFailure(msg)
        token = record.access_token
        answer = await self._http.send(
            method,
            url,
            headers={"Authorization": f"Bearer {token}", "Client-Id": self._http.client_id},
            params=query,
            json=json,
            limit=HELIX_LIMIT,
        )
        if is_good(answer):
            self.vault.accepted(user_id, token)
        left = answer.headers.get("Ratelimit-Remaining", "")
        if left.isdecimal() and len(left) <= _MOST_DIGITS:
            self._points[user_id] = int(left)
        return answer

    async def _newer(self, user_id: str, refused: Record, answer: Answer) -> Record | None:
        """A newer record if the answer refused the token of this one, else None."""
        if answer.status != UNAUTHORIZED or _OTHER_CAUSE.search(message_of(answer)):
            return None
        try:
            if message_of(answer).casefold() in _DEAD_TOKEN:
                return await self.vault.renew(user_id, refused.generation)
            token = await self.vault.renew_refused(user_id, refused.access_token)
        except HTTPException as error:
            failure = fresh_copy(error)
            text = error.message or "the answer carries no message"
            failure.message = f"the refresh of user {user_id!r} failed: {text}"
            failure.args = (failure.status, failure.message)
            raise failure from None
        return None if token == refused.access_token else self.record(user_id)

    def _url(self, path: str) -> str:
        # A token must not go anywhere but to the API.
        if not isinstance(path, str) or not path.isprintable() or not _PATH.fullmatch(path):
            msg = f"'path' must be a path below the API's base, like 'users', not {path!r}"
            raise ValueError(msg)
        return self._api_url + path.lstrip("/")


def _content(answer: Answer, token: str) -> dict[str, Any]:
    content = json_of(answer, token)
    if content is None:
        return {}
    return content if isinstance(content, dict) else {"data": content}


def _check_json(json: object) -> None:
    try:
        jsonlib.dumps(json, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"'json' cannot be sent as JSON: {error}"
        raise (WrongType if isinstance(error, TypeError) else ValueError)(msg) from None


def _query(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if isinstance(value, (list, tuple, set, frozenset)):
            pairs += [(name, _text(item)) for item in value]
        elif value is not None:
            pairs.append((name, _text(value)))
    return pairs


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
