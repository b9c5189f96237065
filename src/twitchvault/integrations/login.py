"""Logins by authorization code on a web server of any number of workers.

`PendingLogins` remembers in the store which logins have begun, so the two halves of one may fall on
different workers or hosts. `starlette_routes` (for FastAPI too) and `aiohttp_routes` are its pages.
"""

from __future__ import annotations

import hmac
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from twitchvault import inputs
from twitchvault.errors import BadRequest, ClientException, HTTPException, StoreError
from twitchvault.oauth import AuthorizationCodeGrantFlow
from twitchvault.stores.base import missing_driver
from twitchvault.vault.pending import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from twitchvault.app import App
    from twitchvault.helix import UserAPI

__all__ = [
    "LoginDenied",
    "LoginUnknown",
    "PendingLogin",
    "PendingLogins",
    "aiohttp_routes",
    "starlette_routes",
]

_COOKIE: Final = "twitchvault_login"
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

    `redirect_uri` must equal one registered in Twitch's console byte for byte. A login is waited
    for during ten minutes. The app has to be authorized when a login begins or is finished.
    """

    def __init__(self, app: App, redirect_uri: str) -> None:
        self.redirect_uri = inputs.word("redirect_uri", redirect_uri)
        self._app = app

    async def begin(
        self, scopes: Iterable[str] = frozenset(), force_verify: bool = False
    ) -> PendingLogin:
        """Remember a new login; unpacks to its `url` and its `state`.

        Tie the state to the browser, by a cookie for example, and compare the two in the callback:
        `finish` knows that the login began here, and not in which browser.
        """
        flow, state = self._flow(), token_urlsafe()
        url = flow.get_authorization_url(self.redirect_uri, scopes, state, force_verify)
        await self._app._core.vault.pending.put(state)  # noqa: SLF001
        return PendingLogin(url, state)

    async def finish(self, query: Mapping[str, str]) -> UserAPI:
        """Take a callback's query; the user's pair is in the store when it returns.

        `LoginUnknown`: no login waits for it. `LoginDenied`: the user has refused. What else
        `get_authorization_token` and `add_user` raise; the login has ended then, too.
        """
        flow = self._flow()
        state, code, refusal = (query.get(name) for name in ("state", "code", "error"))
        code = code.strip() if isinstance(code, str) else code
        if not isinstance(state, str) or not (code or refusal):
            raise LoginUnknown("this is no callback of a login: it lacks 'state' or 'code'")
        if not await self._app._core.vault.pending.take(state):  # noqa: SLF001
            msg = "no login waits for this callback: it never began here, has ended, or began more "
            raise LoginUnknown(msg + "than ten minutes ago; begin another one")
        if not code:
            raise LoginDenied(f"the user came back without a code ({str(refusal)[:80]!r})")
        token = await flow.get_authorization_token(code, self.redirect_uri)
        return await flow.add_user(token.access_token, token.refresh_token)

    def _flow(self) -> AuthorizationCodeGrantFlow:
        self._app._core.binding.check()  # noqa: SLF001
        return AuthorizationCodeGrantFlow.from_app(self._app)


class _Page(NamedTuple):
    """An answer to the browser; without a state the cookie is taken away."""

    status: int
    text: str
    location: str | None = None
    state: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return _HEADERS | ({"Location": self.location} if self.location else {})


_NOT_NOW: Final = _Page(503, "Open this page yourself.")
_LATER: Final = _Page(503, "This cannot be done just now: sign in again in a minute.")


def _cookie(pending: PendingLogins) -> dict[str, Any]:
    # As the browser sees it: an application may be mounted under a prefix.
    url = urlsplit(pending.redirect_uri)
    secure = url.scheme == "https"
    return {"path": url.path or "/", "httponly": True, "samesite": "lax", "secure": secure}


def _is_visit(method: str, headers: Mapping[str, str]) -> bool:
    """Whether somebody looks: no HEAD, and no page that the browser fetches in advance."""
    purpose = headers.get("Sec-Purpose", "") + headers.get("Purpose", "")
    return method == "GET" and "prefetch" not in purpose


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # a server may hand on what is no UTF-8


async def _begin(pending: PendingLogins, scopes: Iterable[str]) -> _Page:
    try:
        url, state = await pending.begin(scopes)
    except StoreError:
        return _LATER
    return _Page(302, "", url, state)


async def _finish(pending: PendingLogins, query: Mapping[str, str], cookie: str | None) -> _Page:
    if not cookie or not hmac.compare_digest(_bytes(cookie), _bytes(query.get("state", ""))):
        return _Page(400, "This is not the login that began here: sign in again.")
    try:
        user = await pending.finish(query)
    except LoginUnknown:
        return _Page(400, "This login has ended: sign in again.")
    except LoginDenied:
        return _Page(403, "You did not grant access.")
    except (BadRequest, ClientException):
        return _Page(400, "This code is no longer good: sign in again.")
    except (HTTPException, StoreError):
        return _LATER
    return _Page(200, f"Welcome, {user.login}.")


def starlette_routes(
    pending: PendingLogins,
    scopes: Iterable[str],
    *,
    login: str = "/login",
    callback: str = "/callback",
) -> list[Route]:
    """The two pages as routes of Starlette or FastAPI: `Starlette(routes=starlette_routes(...))`.

    `login` and `callback` are their paths; `callback` must be that of the redirect URI.
    """
    try:
        from starlette.responses import PlainTextResponse  # noqa: PLC0415
        from starlette.routing import Route  # noqa: PLC0415
    except ImportError:
        raise missing_driver("starlette_routes", "starlette", "starlette") from None
    scopes, cookie = frozenset(scopes), _cookie(pending)

    def response(page: _Page) -> Response:
        answer = PlainTextResponse(page.text, page.status, page.headers)
        if page.state:
            answer.set_cookie(_COOKIE, page.state, max_age=int(LIFETIME), **cookie)
        elif page is not _NOT_NOW:
            answer.delete_cookie(_COOKIE, **cookie)
        return answer

    async def begin(request: Request) -> Response:
        visited = _is_visit(request.method, request.headers)
        return response(await _begin(pending, scopes) if visited else _NOT_NOW)

    async def finish(request: Request) -> Response:
        if not _is_visit(request.method, request.headers):
            return response(_NOT_NOW)
        return response(await _finish(pending, request.query_params, request.cookies.get(_COOKIE)))

    return [Route(login, begin, methods=["GET"]), Route(callback, finish, methods=["GET"])]


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

    scopes, cookie = frozenset(scopes), _cookie(pending)

    def response(page: _Page) -> web.Response:
        answer = web.Response(text=page.text, status=page.status, headers=page.headers)
        if page.state:
            answer.set_cookie(_COOKIE, page.state, max_age=int(LIFETIME), **cookie)
        elif page is not _NOT_NOW:
            answer.del_cookie(_COOKIE, path=cookie["path"])
        return answer

    async def begin(request: web.Request) -> web.Response:
        visited = _is_visit(request.method, request.headers)
        return response(await _begin(pending, scopes) if visited else _NOT_NOW)

    async def finish(request: web.Request) -> web.Response:
        if not _is_visit(request.method, request.headers):
            return response(_NOT_NOW)
        return response(await _finish(pending, request.query, request.cookies.get(_COOKIE)))

    return [web.get(login, begin), web.get(callback, finish)]
