"""`UserAPI` and `AppAPI`: Helix in the name of a user or of the application; `User`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twitchvault import inputs
from twitchvault.errors import HTTPException, NotFound, WrongValue
from twitchvault.loops import on_bound_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from twitchvault.helix.client import HelixClient
    from twitchvault.loops import LoopBinding
    from twitchvault.models import Token, ValidateToken
    from twitchvault.vault.record import Record

__all__ = ["AppAPI", "User", "UserAPI"]

MOST_EMPTY_PAGES: Final = 100
"""Pages without an element in a row after which `paginate` stops asking."""


@dataclass(frozen=True, slots=True)
class _API:
    """What both have: it holds an id, never a token, so it stays good across refreshes."""

    user_id: str
    """The user's id; of the application, the client id."""

    _helix: HelixClient = field(repr=False)

    @property
    def id(self) -> str:
        """The same as `user_id`."""
        return self.user_id

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
    def needs_login(self) -> str | None:
        """Why the user has to sign in again, None as long as that is not needed."""
        return self._helix.vault.mirror.needs_login.get(self.user_id)

    @property
    def _record(self) -> Record:
        return self._helix.record(self.user_id)

    @property
    def _binding(self) -> LoopBinding:
        return self._helix.binding

    @on_bound_loop
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
        None leaves it out. A dead token is renewed, exactly once in all processes, and the call is
        repeated. Raises `HTTPException` (a subclass for each status), `AuthFailure` if the user has
        to sign in again, `TokenError` if no token is stored.
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
        """Every element of `data` on every page, following `pagination.cursor`.

        Where Twitch wraps the list in an object ("schedule": `data.segments`), the elements of
        that list. `HTTPException` for a page that is not as documented.
        """
        query, empty_pages = params, 0
        seen: set[str] = set()
        while empty_pages < MOST_EMPTY_PAGES:
            page = await self.request("GET", path, params=query)
            elements = _elements(page, path)
            for element in elements:
                yield element
            empty_pages = 0 if elements else empty_pages + 1
            cursor = _cursor(page)
            # A service that repeats its cursors would keep us here for ever.
            if not cursor or cursor in seen:
                return
            seen.add(cursor)
            query = {**(params or {}), "after": cursor}

    @on_bound_loop
    async def validate(self) -> ValidateToken:
        """Ask Twitch about the access token; `Unauthorized` if it is not good any more."""
        return await self._helix.vault.validate_token(self._record.access_token)

    @on_bound_loop
    async def refresh(self) -> Token:
        """A pair newer than the one the view shows now; for an application, a new app token.

        Asked for by two processes at once it is one exchange. `AuthFailure` if the user has to
        sign in again. For an access token that somebody refused there is `renew`.
        """
        self._helix.record(self.user_id)  # its errors say what to do
        return await self._helix.vault.refresh(self.user_id)

    @on_bound_loop
    async def renew(self, refused: str) -> str:
        """An access token that works, for whoever learnt elsewhere that `refused` does not.

        If another one stands by now, that one, without an exchange. Else Twitch is asked whether
        `refused` is dead; if it is, it is refreshed, exactly once in all processes.
        """
        token = inputs.token("refused", refused)
        self._helix.record(self.user_id)
        return await self._helix.vault.renew_refused(self.user_id, token)

    @on_bound_loop
    async def revoke(self) -> None:
        """Revoke the access token at Twitch and take it out of the vault."""
        await self._helix.vault.revoke_token(self._record.access_token)

    async def _user(self, params: Mapping[str, Any]) -> User:
        found = _elements(await self.get("users", params=params), "users")
        if not found:
            raise NotFound(404, "no such user")
        try:
            return User.model_validate(found[0])
        except ValidationError:
            pass
        raise _undocumented("users")


class User(BaseModel):
    """A Twitch user, from `GET /helix/users`.

    `id` never changes, `login` and `display_name` can. `email` is there only for oneself and with
    the scope user:read:email. Fields that Twitch leaves out are empty.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )

    id: str
    login: str
    display_name: str = ""
    type: str = ""
    broadcaster_type: str = ""
    description: str = ""
    profile_image_url: str = ""
    offline_image_url: str = ""
    created_at: str = ""
    email: str | None = Field(default=None, repr=False)


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
            raise WrongValue("get_user() takes one of 'user_id' and 'login'")
        if user_id is not None:
            user_id = inputs.user_id(user_id)
        return await self._user({"id": user_id, "login": login})


def _elements(page: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    elements: Any = page.get("data")
    if isinstance(elements, dict):
        lists = [value for value in elements.values() if isinstance(value, list)]
        elements = lists[0] if len(lists) == 1 else lists or None
    elements = [] if elements is None else elements
    if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
        raise _undocumented(path)
    return elements


def _cursor(page: Mapping[str, Any]) -> str:
    pagination = page.get("pagination")
    # One endpoint has the cursor itself there.
    cursor = pagination.get("cursor") if isinstance(pagination, dict) else pagination
    return cursor if isinstance(cursor, str) else ""


def _undocumented(path: str) -> HTTPException:
    return HTTPException(200, f"the answer of {path!r} is not as documented")
