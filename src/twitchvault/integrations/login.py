"""Logins by authorization code on a web server of any number of workers or hosts.

`PendingLogins` remembers in the store which logins have begun; `starlette_routes` (for FastAPI too)
and `aiohttp_routes` are its pages.
"""

from __future__ import annotations

import logging
from hmac import compare_digest
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from twitchvault import inputs
from twitchvault.errors import (
    AuthFailure,
    BadRequest,
    ClientException,
    HTTPException,
    RateLimited,
    StoreError,
)
from twitchvault.oauth import AuthorizationCodeGrantFlow
from twitchvault.oauth.granted import with_retries
from twitchvault.scopes import scope_names
from twitchvault.stores.base import missing_driver
from twitchvault.vault.pending import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import web
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from twitchvault.app import App
    from twitchvault.helix import UserAPI

    _Show: TypeAlias = Callable[["_Visit"], Awaitable["_Page"]]

__all__ = [
    "LoginDenied",
    "LoginUnknown",
    "PendingLogin",
    "PendingLogins",
    "aiohttp_routes",
    "starlette_routes",
]

_STATES: Final = "twitchvault_login"
_SIGNED_IN: Final = "twitchvault_signed_in"
_BETWEEN: Final = "."
_TABS: Final = 5
"""So many logins that have begun a browser remembers: one for each of its tabs."""
_log: Final = logging.getLogger(__name__)
_HEADERS: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class LoginUnknown(ClientException):
    """No login waits for this callback: it never began here, has ended, or began too long ago."""


class LoginDenied(ClientException):
    """Twitch sent the user back without a code; usually the user has refused."""


class PendingLogin(NamedTuple):
    """A login that has begun: where to send the browser, and the state that it brings back."""

    url: str
    state: str


class PendingLogins:
    """Begins logins of `app`, and finishes each once, in whichever process its callback arrives.

    `redirect_uri` must equal one registered in Twitch's console byte for byte. A login that is not
    finished within ten minutes is forgotten. The app has to be authorized.
    """

    def __init__(self, app: App, redirect_uri: str) -> None:
        self.redirect_uri = inputs.word("redirect_uri", redirect_uri)
        self._app = app

    async def begin(
        self, scopes: Iterable[str] = frozenset(), force_verify: bool = False
    ) -> PendingLogin:
        """Remember a new login; unpacks to its `url` and its `state`.

        Tie the state to the browser, by a cookie say, and compare the two in the callback: `finish`
        does not know in which browser the login began.
        """
        flow, state = self._flow(), token_urlsafe()
        url = flow.get_authorization_url(self.redirect_uri, scopes, state, force_verify)
        await self._app._core.vault.pending.put(state)  # noqa: SLF001
        return PendingLogin(url, state)

    async def finish(self, query: Mapping[str, str]) -> UserAPI:
        """Take a callback's query; the user's pair is in the store when it returns.

        `LoginUnknown`: no login waits for it. `LoginDenied`: the user has refused. That, and
        whatever `get_authorization_token` and `add_user` raise, ends the login.
        """
        flow = self._flow()
        state, code, refusal = (query.get(name) for name in ("state", "code", "error"))
        code = _checked(code)  # before the login is used up
        if not isinstance(state, str) or not (code or refusal):
            raise LoginUnknown("this is no callback of a login: it lacks 'state' or 'code'")
        if not await self._app._core.vault.pending.take(state):  # noqa: SLF001
            msg = "no login waits for this callback: it never began here, has ended, or began more "
            raise LoginUnknown(msg + "than ten minutes ago; begin another one")
        if not code:
            raise LoginDenied(f"the user came back without a code ({str(refusal)[:80]!r})")
        users: list[UserAPI] = []

        async def add() -> None:
            token = await flow.get_authorization_token(code, self.redirect_uri)
            pair = token.access_token, token.refresh_token
            users.append(await with_retries(lambda: flow.add_user(*pair)))

        # A browser that goes away cancels the page, and the code is good only once.
        await self._app._core.vault.run_to_end(f"login/{state}", add)  # noqa: SLF001
        return users[0]

    def _flow(self) -> AuthorizationCodeGrantFlow:
        self._app._core.binding.check()  # noqa: SLF001
        return AuthorizationCodeGrantFlow.from_app(self._app)


def _checked(code: str | None) -> str | None:
    """The code, None if it cannot be one."""
    try:
        return inputs.word("code", code)
    except ValueError:
        return None


class _Page(NamedTuple):
    """An answer to the browser, and what its cookies hold afterwards; None leaves one as it is."""

    status: int
    text: str
    location: str | None = None
    states: str | None = None
    signed_in: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return _HEADERS | ({"Location": self.location} if self.location else {})

    @property
    def cookies(self) -> list[tuple[str, str, int]]:
        """Name, value and lifetime in seconds of the cookies to set; 0 takes one away."""
        named = ((_STATES, self.states), (_SIGNED_IN, self.signed_in))
        return [
            (name, text, int(LIFETIME) if text else 0) for name, text in named if text is not None
        ]


_LOOKED_AT: Final = _Page(204, "")
_NOT_NOW: Final = _Page(503, "Open this page yourself.")
_LATER: Final = _Page(503, "This cannot be done just now: sign in again in a minute.")
_EXPIRED: Final = _Page(400, "This code is no longer good: sign in again.")
_OURS: Final = _Page(500, "Nobody can sign in here at the moment: the site has to be mended.")


class _Visit(NamedTuple):
    """What a framework says of a request."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    cookies: Mapping[str, str]

    @property
    def turned_away(self) -> _Page | None:
        """The answer to whoever does not come to stay: HEAD, and a page fetched in advance."""
        purpose = self.headers.get("Sec-Purpose", "") + self.headers.get("Purpose", "")
        if self.method == "GET" and "prefetch" not in purpose:
            return None
        return _LOOKED_AT if self.method == "HEAD" else _NOT_NOW

    @property
    def states(self) -> list[str]:
        """Of the logins that have begun in this browser, in several tabs perhaps; newest last."""
        found = self.cookies.get(_STATES, "").split(_BETWEEN)
        return [state for state in found if state][-_TABS:]


class _Pages:
    """The two pages, whatever framework shows them."""

    def __init__(self, pending: PendingLogins, scopes: Iterable[str], callback: str) -> None:
        self._pending = pending
        self._scopes = scope_names(scopes)
        url = urlsplit(pending.redirect_uri)
        self._address = url.path or "/"
        # The application may be mounted under a prefix, which only the browser sees.
        prefix = self._address.removesuffix(callback)
        self.cookie: dict[str, Any] = {
            "path": "/" if prefix == self._address else prefix or "/",
            "httponly": True,
            "secure": url.scheme == "https",
            "samesite": "lax",
        }

    async def login(self, visit: _Visit) -> _Page:
        """Send the browser to Twitch."""
        if visit.turned_away:
            return visit.turned_away
        try:
            url, state = await self._pending.begin(self._scopes)
        except StoreError as error:
            return _warned(error)
        return _Page(302, "", url, _BETWEEN.join([*visit.states, state][-_TABS:]))

    async def callback(self, visit: _Visit) -> _Page:
        """Take the browser back, and send it to this page without the code in its address."""
        if visit.turned_away:
            return visit.turned_away
        if visit.states and visit.query.get("error") == "redirect_mismatch":  # it has no state
            uri = self._pending.redirect_uri
            _log.error("Twitch's console has no redirect URI %r: add it", uri)
            return _OURS
        if not visit.query and (name := visit.cookies.get(_SIGNED_IN)):
            return _Page(200, f"Welcome, {name}.")
        state = visit.query.get("state", "")
        known = [compare_digest(_bytes(state), _bytes(one)) for one in visit.states]
        if not any(known):
            return _ended(visit)
        left = _BETWEEN.join(one for one in visit.states if one != state)
        return (await self._finish(visit))._replace(states=left)

    async def _finish(self, visit: _Visit) -> _Page:
        try:
            user = await self._pending.finish(visit.query)
        except LoginUnknown:
            return _ended(visit)
        except LoginDenied:
            return _Page(403, "You did not grant access.")
        except AuthFailure:
            return _EXPIRED
        except HTTPException as error:
            return _page_of(error)
        except StoreError as error:
            return _warned(error)
        return _Page(303, "", self._address, signed_in=user.login or user.user_id)


def _ended(visit: _Visit) -> _Page:
    """The answer to an address whose login is over: a reload that came too fast, for example."""
    name = visit.cookies.get(_SIGNED_IN)
    what = f"you are signed in as {name}" if name else "sign in again"
    return _Page(400, f"This login has ended, or began in another browser: {what}.")


def _page_of(error: HTTPException) -> _Page:
    """The answer where Twitch did not take the code: the user's, ours, or the weather's fault."""
    if isinstance(error, BadRequest) and "authorization code" in error.message.lower():
        return _EXPIRED
    if isinstance(error, RateLimited) or not 400 <= error.status < 500:  # noqa: PLR2004
        return _warned(error)
    _log.error("Twitch refuses every login (%s): mend the client id, secret or redirect URI", error)
    return _OURS


def _warned(error: Exception) -> _Page:
    _log.warning("a login was put off: %s", error)
    return _LATER


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # a server may hand on what is no UTF-8


def starlette_routes(
    pending: PendingLogins,
    scopes: Iterable[str],
    *,
    login: str = "/login",
    callback: str = "/callback",
) -> list[BaseRoute]:
    """The two pages as routes of Starlette or FastAPI: `Starlette(routes=starlette_routes(...))`.

    `login` and `callback` are their paths; `callback` must be that of the redirect URI.
    """
    try:
        from starlette.responses import PlainTextResponse  # noqa: PLC0415
        from starlette.routing import Route  # noqa: PLC0415
    except ImportError:
        raise missing_driver("starlette_routes", "starlette", "starlette") from None
    pages = _Pages(pending, scopes, callback)

    def endpoint(show: _Show) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            visit = _Visit(request.method, request.headers, request.query_params, request.cookies)
            request.scope["query_string"] = b""  # what the server logs has no code in it
            page = await show(visit)
            response = PlainTextResponse(page.text, page.status, page.headers)
            for name, value, lifetime in page.cookies:
                response.set_cookie(name, value, max_age=lifetime, **pages.cookie)
            return response

        return answer

    return [
        Route(login, endpoint(pages.login), methods=["GET"]),
        Route(callback, endpoint(pages.callback), methods=["GET"]),
    ]


def aiohttp_routes(
    pending: PendingLogins,
    scopes: Iterable[str],
    *,
    login: str = "/login",
    callback: str = "/callback",
) -> list[web.RouteDef]:
    """The two pages as routes of aiohttp: `application.add_routes(aiohttp_routes(...))`.

    `login` and `callback` are their paths; `callback` must be that of the redirect URI.
    """
    from aiohttp import web  # noqa: PLC0415 - only servers need it

    pages = _Pages(pending, scopes, callback)

    def endpoint(show: _Show) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            visit = _Visit(request.method, request.headers, request.query, request.cookies)
            page = await show(visit)
            response = web.Response(text=page.text, status=page.status, headers=page.headers)
            for name, value, lifetime in page.cookies:
                response.set_cookie(name, value, max_age=lifetime, **pages.cookie)
            return response

        return answer

    return [web.get(login, endpoint(pages.login)), web.get(callback, endpoint(pages.callback))]
