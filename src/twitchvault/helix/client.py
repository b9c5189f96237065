"""One Helix call: token in, answer out, a dead token renewed once.

Only a 401 whose message says that the token itself is invalid leads to a refresh. Twitch answers
401 to missing scopes too, and refreshing for those would burn a one-use token for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from twitchvault.answers import json_of, message_of
from twitchvault.errors import AuthFailure, TokenError
from twitchvault.http import HELIX_LIMIT, Answer
from twitchvault.identity import base_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.http import HTTPClient
    from twitchvault.vault.vault import Vault

__all__ = ["HelixClient"]


UNAUTHORIZED: Final = 401
DEAD_TOKEN: Final = frozenset({"invalid oauth token", "invalid access token", "token expired"})


class HelixClient:
    """Sends Helix calls with the tokens of a vault and notes the points left."""

    def __init__(self, http: HTTPClient, vault: Vault, api_url: str) -> None:
        self.vault = vault
        self._http = http
        self._api_url = base_url("api_url", api_url) + "/"
        self._points: dict[str, int] = {}

    def points_left(self, user_id: str) -> int | None:
        """The points left in the bucket of this user as Twitch last said, or None."""
        return self._points.get(user_id)

    def clear(self) -> None:
        """Forget the points."""
        self._points.clear()

    async def call(
        self,
        user_id: str,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        json: object = None,
    ) -> dict[str, Any]:
        """The JSON object that Helix answers, {} for an empty answer; else an `HTTPException`."""
        record = self.vault.mirror.get(user_id)
        if record is None:
            msg = f"no token is stored for user {user_id!r}; sign the user in first"
            raise TokenError(msg)
        if record.dead:
            msg = f"user {user_id!r} has to sign in again: {record.reason}"
            raise AuthFailure(msg)
        token = record.access_token
        answer = await self._send(user_id, token, method, path, params, json)
        if _says_token_is_dead(answer):
            token = (await self.vault.renew(user_id, token, refused=True)).access_token
            answer = await self._send(user_id, token, method, path, params, json)
        content = json_of(answer, token)
        return (
            content if isinstance(content, dict) else {} if content is None else {"data": content}
        )

    async def _send(
        self,
        user_id: str,
        token: str,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        json: object,
    ) -> Answer:
        answer = await self._http.send(
            method.upper(),
            self._url(path),
            headers={"Authorization": f"Bearer {token}", "Client-Id": self._http.client_id},
            params=_query(params or {}),
            json=json,
            limit=HELIX_LIMIT,
        )
        left = answer.headers.get("Ratelimit-Remaining", "")
        if left.isdecimal():
            self._points[user_id] = int(left)
        return answer

    def _url(self, path: str) -> str:
        # A token must not go anywhere but to the API.
        segments = unquote(path.partition("?")[0]).replace("\\", "/").split("/")
        if "://" in path or path.startswith("//") or not {".", ".."}.isdisjoint(segments):
            msg = f"'path' must be a path below the API's base, like 'users', not {path!r}"
            raise ValueError(msg)
        return self._api_url + path.lstrip("/")


def _says_token_is_dead(answer: Answer) -> bool:
    if answer.status != UNAUTHORIZED:
        return False
    return message_of(answer).lower() in DEAD_TOKEN


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
