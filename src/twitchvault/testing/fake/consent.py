"""What a person sees: the consent page of the code flow and the page that takes a user code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from . import pages, scopes
from .messages import HTML, Answer
from .model import Refusal

if TYPE_CHECKING:
    from .logins import Logins
    from .messages import Call
    from .model import Client, User
    from .state import State
    from .tokens import Tokens

COOKIE: Final = "fake_twitch_user"
MISMATCH: Final = "Parameter redirect_uri does not match registered URI"


@dataclass(slots=True)
class ConsentRequest:
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
        asked = self._parse(call)
        if isinstance(asked, Answer):
            return asked
        if call.method == "POST":
            return self._clicked(asked, call)
        if self._logins.auto_consent_deny:
            return _denied(asked)
        user = self._logins.auto_consent or self._consented_before(asked, call)
        return self._granted(asked, user) if user is not None else self._ask(asked, call)

    def _parse(self, call: Call) -> ConsentRequest | Answer:
        params = call.params
        client = self._consent_client(params.get("client_id"))
        redirect_uri, state = params.get("redirect_uri", ""), params.get("state")
        if redirect_uri not in client.redirect_uris:
            return _mismatch(client)
        response_type = params.get("response_type", "")
        asked = ConsentRequest(
            client, redirect_uri, response_type, (), state, _flag(call, "force_verify")
        )
        if response_type not in {"code", "token"}:
            return _redirect(
                asked,
                error="unsupported_response_type",
                error_description="Response type is not supported",
            )
        if "scope" not in params:
            raise Refusal(400, "missing scope")
        asked.scopes = scopes.split(params["scope"])
        self._check_scopes(asked)
        return asked

    def _consent_client(self, client_id: str | None) -> Client:
        if not client_id:
            raise Refusal(400, "missing client ID")
        if client_id not in self._state.clients:
            raise Refusal(400, "invalid client")
        return self._state.clients[client_id]

    def _check_scopes(self, asked: ConsentRequest) -> None:
        if asked.client.switches.unknown_scopes == "grant":
            return
        bad = scopes.unknown(asked.scopes) or next(
            (name for name in asked.scopes if name in scopes.RETIRED), None
        )
        if bad is not None:
            raise Refusal(400, f"The scope {bad} is currently unavailable")

    def _consented_before(self, asked: ConsentRequest, call: Call) -> User | None:
        user = self._state.users.get(call.cookies.get(COOKIE, ""))
        if user is None or asked.force:
            return None
        grant = self._tokens.grant(asked.client, user)
        return user if grant is not None and grant.scopes.issuperset(asked.scopes) else None

    def _ask(self, asked: ConsentRequest, call: Call) -> Answer:
        hidden = {name: call.params[name] for name in _FIELDS if name in call.params}
        chosen = call.cookies.get(COOKIE)
        users = list(self._state.users.values())
        return _page(
            pages.consent("/oauth2/authorize", asked.client, asked.scopes, users, chosen, hidden)
        )

    def _clicked(self, asked: ConsentRequest, call: Call) -> Answer:
        if call.form.get("decision") != "authorize":
            return _denied(asked)
        user = self._state.users.get(call.form.get("user", ""))
        if user is None:
            return _page(pages.notice("Nobody chosen", "Go back and choose a user."), 400)
        return self._granted(asked, user)

    def _granted(self, asked: ConsentRequest, user: User) -> Answer:
        if asked.response_type == "token":
            answer = self._implicit(asked, user)
        else:
            code = self._logins.consent(asked.client, user, asked.scopes, asked.redirect_uri)
            answer = _redirect(asked, code=code, scope=" ".join(asked.scopes))
        answer.headers["Set-Cookie"] = f"{COOKIE}={user.user_id}; Path=/; HttpOnly; SameSite=Lax"
        return answer

    def _implicit(self, asked: ConsentRequest, user: User) -> Answer:
        token = self._tokens.issue_implicit(asked.client, user, asked.scopes)
        return _redirect(
            asked,
            "#",
            access_token=token.value,
            scope=" ".join(asked.scopes),
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


def _redirect(asked: ConsentRequest, mark: str = "?", **params: str) -> Answer:
    if asked.state is not None:
        params["state"] = asked.state
    return _redirect_to(asked.redirect_uri, mark, params)


def _redirect_to(uri: str, mark: str, params: dict[str, str]) -> Answer:
    joint = "&" if mark == "?" and "?" in uri else mark
    return Answer(302, b"", HTML, {"Location": f"{uri}{joint}{urlencode(params)}"})


def _mismatch(client: Client) -> Answer:
    """To the first registered URI, never the one passed, and without state."""
    params = {"error": "redirect_mismatch", "error_description": MISMATCH}
    if not client.redirect_uris:
        raise Refusal(400, MISMATCH)
    return _redirect_to(client.redirect_uris[0], "?", params)


def _denied(asked: ConsentRequest) -> Answer:
    mark = "#" if asked.response_type == "token" else "?"
    text = "The user denied you access"
    return _redirect(asked, mark, error="access_denied", error_description=text)


def _page(text: str, status: int = 200) -> Answer:
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return Answer(status, text.encode(), f"{HTML}; charset=utf-8", headers)
