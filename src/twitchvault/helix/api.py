"""`UserAPI` and `AppAPI`: Helix in the name of a user or of the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from twitchvault.errors import HTTPException, NotFound, TokenError, discreet
from twitchvault.helix.models import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from twitchvault.helix.client import HelixClient
    from twitchvault.models import Token, ValidateToken
    from twitchvault.vault.record import Record

__all__ = ["AppAPI", "UserAPI"]


class _API:
    """What both have: it holds an id, never a token, so it stays good across refreshes."""

    __slots__ = ("_helix", "user_id")

    def __init__(self, user_id: str, helix: HelixClient) -> None:
        self.user_id = user_id
        self._helix = helix

    def __repr__(self) -> str:
        return f"{type(self).__name__}(user_id={self.user_id!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _API):
            return NotImplemented
        return self.user_id == other.user_id and self._helix is other._helix

    def __hash__(self) -> int:
        return hash(self.user_id)

    @property
    def token(self) -> str:
        """The access token as it stands now; `TokenError` if none is stored any more."""
        return self._record.access_token

    @property
    def login(self) -> str | None:
        """The login name as of the last validation, None before it and for an application."""
        return self._record.login

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes as of the last validation, empty before it."""
        return self._record.scopes or ()

    @property
    def _record(self) -> Record:
        record = self._helix.vault.mirror.get(self.user_id)
        if record is None:
            msg = f"no token is stored for user {self.user_id!r}; sign the user in first"
            raise TokenError(msg)
        return record

    @discreet
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: object = None,
    ) -> dict[str, Any]:
        """Call Helix and return its JSON, {} for an empty answer.

        `path` is below the API's base, like "users". In `params` a list repeats the parameter and
        None leaves it out. A token that Twitch calls invalid is renewed once, exactly once in all
        processes, and the call is repeated; a missing scope renews nothing. Raises `HTTPException`
        (a subclass for each status), `AuthFailure` if the user has to sign in again, `TokenError`
        if no token is stored.
        """
        return await self._helix.call(self.user_id, method, path, params, json)

    async def get(self, path: str, *, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`request("GET", …)`."""
        return await self.request("GET", path, params=params)

    async def post(
        self, path: str, *, params: Mapping[str, Any] | None = None, json: object = None
    ) -> dict[str, Any]:
        """`request("POST", …)`."""
        return await self.request("POST", path, params=params, json=json)

    async def put(
        self, path: str, *, params: Mapping[str, Any] | None = None, json: object = None
    ) -> dict[str, Any]:
        """`request("PUT", …)`."""
        return await self.request("PUT", path, params=params, json=json)

    async def patch(
        self, path: str, *, params: Mapping[str, Any] | None = None, json: object = None
    ) -> dict[str, Any]:
        """`request("PATCH", …)`."""
        return await self.request("PATCH", path, params=params, json=json)

    async def delete(self, path: str, *, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`request("DELETE", …)`."""
        return await self.request("DELETE", path, params=params)

    async def paginate(
        self, path: str, *, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Every element of `data` on every page, following `pagination.cursor`."""
        query = dict(params or {})
        while True:
            page = await self.request("GET", path, params=query)
            for element in page.get("data") or ():
                yield element
            pagination = page.get("pagination")
            cursor = pagination.get("cursor") if isinstance(pagination, dict) else pagination
            # A service that repeats its cursor would keep us here for ever.
            if not cursor or cursor == query.get("after"):
                return
            query["after"] = cursor

    @discreet
    async def validate(self) -> ValidateToken:
        """Ask Twitch about the access token; `Unauthorized` if it is not good any more."""
        return await self._helix.vault.validate_token(self._record.access_token)

    @discreet
    async def refresh(self) -> Token:
        """A pair newer than the one the view shows now; for an application, a new app token.

        Asked for by two processes at once it is one exchange. `AuthFailure` if the user has to
        sign in again.
        """
        return await self._helix.vault.refreshed(self.user_id, self._record.access_token)

    @discreet
    async def revoke(self) -> None:
        """Revoke the access token at Twitch and take it out of the vault."""
        await self._helix.vault.revoke_token(self._record.access_token)

    async def _user(self, params: Mapping[str, Any]) -> User:
        answer = await self.get("users", params=params)
        found = answer.get("data") or ()
        if not found:
            raise NotFound(404, "no such user")
        try:
            return User.model_validate(found[0])
        except ValidationError:
            raise HTTPException(200, "the answer of 'users' is not as documented") from None


class UserAPI(_API):
    """Helix in the name of one user."""

    __slots__ = ()

    async def get_user(self) -> User:
        """The user whose token this is."""
        return await self._user({})


class AppAPI(_API):
    """Helix in the name of the application; `user_id` is the client id."""

    __slots__ = ()

    async def get_user(self, *, user_id: str | None = None, login: str | None = None) -> User:
        """One user, by id or by login; `NotFound` if there is none."""
        if (user_id is None) == (login is None):
            msg = "get_user() takes one of 'user_id' and 'login'"
            raise ValueError(msg)
        return await self._user({"id": user_id, "login": login})
