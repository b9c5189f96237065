"""What a person sees: the consent page of the code flow and the page that takes a user code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from . import pages, scopes
from .model import Refusal
from .wire import HTML, Answer

if TYPE_CHECKING:
    from .logins import Logins
    from .model import Client, User
    from .state import State
    from .tokens import Tokens
    from .wire import Call

COOKIE: Final = "fake_twitch_user"
MISMATCH: Final = "Parameter redirect_uri does not match registered URI"


@dataclass(slots=True)
class Wish:
    """A checked request for consent."""

    client: Client
    redirect_uri: str
    response_type: str
    scopes: tuple[str, ...]
    state: str | None
    force: bool


class Consent:
    """The handlers of GET and POST /oauth2/authorize and /activate."""

    def __init__(self, state: State, tokens: Tokens, logins: Logins) -> None:
        self._state = state
        self._tokens = tokens
        self._logins = logins

    # /oauth2/authorize

    def authorize(self, call: Call) -> Answer:
        """Consent by command, by an earlier consent, or by a click."""
        wish = self._wish(call)
        if isinstance(wish, Answer):
            return wish
        if call.method == "POST":
            return self._clicked(wish, call)
        if self._logins.auto_consent_deny:
            return _denied(wish)
        user = self._logins.auto_consent or self._consented_before(wish, call)
        return self._granted(wish, user) if user is not None else self._ask(wish, call)

    def _wish(self, call: Call) -> Wish | Answer:
        params = call.params
        client = self._consent_client(params.get("client_id"))
        redirect_uri, state = params.get("redirect_uri", ""), params.get("state")
        if redirect_uri not in client.redirect_uris:
            return _mismatch(client)
        response_type = params.get("response_type", "")
        wish = Wish(client, redirect_uri, response_type, (), state, _flag(call, "force_verify"))
        if response_type not in {"code", "token"}:
            return _redirect(
                wish,
                error="unsupported_response_type",
                error_description="Response type is not supported",
            )
        if "scope" not in params:
            raise Refusal(400, "missing scope")
        wish.scopes = scopes.split(params["scope"])
        self._check_scopes(wish)
        return wish

    def _consent_client(self, client_id: str | None) -> Client:
        if not client_id:
            raise Refusal(400, "missing client ID")
        if client_id not in self._state.clients:
            raise Refusal(400, "invalid client")
        return self._state.clients[client_id]

    def _check_scopes(self, wish: Wish) -> None:
        if wish.client.switches.unknown_scopes == "grant":
            return
        bad = scopes.unknown(wish.scopes) or next(
            (name for name in wish.scopes if name in scopes.RETIRED), None
        )
        if bad is not None:
            raise Refusal(400, f"The scope {bad} is currently unavailable")

    def _consented_before(self, wish: Wish, call: Call) -> User | None:
        user = self._state.users.get(call.cookies.get(COOKIE, ""))
        if user is None or wish.force:
            return None
        grant = self._tokens.grant(wish.client, user)
        return user if grant is not None and grant.scopes.issuperset(wish.scopes) else None

    def _ask(self, wish: Wish, call: Call) -> Answer:
        hidden = {name: call.params[name] for name in _FIELDS if name in call.params}
        chosen = call.cookies.get(COOKIE)
        users = list(self._state.users.values())
        return _page(
            pages.consent("/oauth2/authorize", wish.client, wish.scopes, users, chosen, hidden)
        )

    def _clicked(self, wish: Wish, call: Call) -> Answer:
        if call.form.get("decision") != "authorize":
            return _denied(wish)
        user = self._state.users.get(call.form.get("user", ""))
        if user is None:
            return _page(pages.notice("Nobody chosen", "Go back and choose a user."), 400)
        return self._granted(wish, user)

    def _granted(self, wish: Wish, user: User) -> Answer:
        if wish.response_type == "token":
            answer = self._implicit(wish, user)
        else:
            code = self._logins.consent(wish.client, user, wish.scopes, wish.redirect_uri)
            answer = _redirect(wish, code=code, scope=" ".join(wish.scopes))
        answer.headers["Set-Cookie"] = f"{COOKIE}={user.user_id}; Path=/; HttpOnly; SameSite=Lax"
        return answer

    def _implicit(self, wish: Wish, user: User) -> Answer:
        token = self._tokens.issue_implicit(wish.client, user, wish.scopes)
        return _redirect(
            wish,
            "#",
            access_token=token.value,
            scope=" ".join(wish.scopes),
            token_type="bearer",  # noqa: S106 - a word of the wire
        )

    # /activate

    def activate(self, call: Call) -> Answer:
        """The page behind `verification_uri`: enter a code, approve or deny it."""
        code = call.params.get("device-code", "")
        if not code:
            return _page(pages.enter_code())
        login = self._logins.pending(code)
        if login is None:
            text = "It may have expired, or somebody has answered already."
            return _page(pages.notice("No login waits under this code", text), 404)
        if call.method == "POST":
            return self._decided(call, login.user_code)
        users, chosen = list(self._state.users.values()), call.cookies.get(COOKIE)
        hidden = {"device-code": login.user_code}
        return _page(pages.consent("/activate", login.client, login.scopes, users, chosen, hidden))

    def _decided(self, call: Call, code: str) -> Answer:
        if call.form.get("decision") != "authorize":
            self._logins.decide(code, None)
            return _page(pages.notice("Cancelled", "The application gets no access."))
        user = self._state.users.get(call.form.get("user", ""))
        if user is None:
            return _page(pages.notice("Nobody chosen", "Go back and choose a user."), 400)
        self._logins.decide(code, user)
        answer = _page(
            pages.notice("Done", "You can close this page and go back to the application.")
        )
        answer.headers["Set-Cookie"] = f"{COOKIE}={user.user_id}; Path=/; HttpOnly; SameSite=Lax"
        return answer


_FIELDS: Final[tuple[str, ...]] = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "force_verify",
)


def _flag(call: Call, name: str) -> bool:
    return call.params.get(name, "false").lower() == "true"


def _redirect(wish: Wish, mark: str = "?", **params: str) -> Answer:
    if wish.state is not None:
        params["state"] = wish.state
    return _redirect_to(wish.redirect_uri, mark, params)


def _redirect_to(uri: str, mark: str, params: dict[str, str]) -> Answer:
    joint = "&" if mark == "?" and "?" in uri else mark
    return Answer(302, b"", HTML, {"Location": f"{uri}{joint}{urlencode(params)}"})


def _mismatch(client: Client) -> Answer:
    """To the first registered URI, never the one passed, and without state."""
    params = {"error": "redirect_mismatch", "error_description": MISMATCH}
    if not client.redirect_uris:
        raise Refusal(400, MISMATCH)
    return _redirect_to(client.redirect_uris[0], "?", params)


def _denied(wish: Wish) -> Answer:
    mark = "#" if wish.response_type == "token" else "?"
    text = "The user denied you access"
    return _redirect(wish, mark, error="access_denied", error_description=text)


def _page(text: str, status: int = 200) -> Answer:
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return Answer(status, text.encode(), f"{HTML}; charset=utf-8", headers)
