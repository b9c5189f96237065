"""The pages: /oauth2/authorize and /activate, on which a user consents, and an overview at /.

Plain HTML, no script, nothing loaded from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from twitchvault.scopes import Scopes

from .identity import KNOWN_SCOPES, required, split_scopes
from .messages import HTML, Answer
from .model import Refusal
from .openid import IdTokenRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .logins import DeviceLogin, Logins
    from .messages import Call
    from .model import Client, User
    from .state import State
    from .tokens import Tokens

COOKIE: Final = "fake_twitch_user"
MISMATCH: Final = "Parameter redirect_uri does not match registered URI"
RETIRED: Final = {Scopes.CHANNEL_SUBSCRIPTIONS, Scopes.USER_EDIT_FOLLOWS, Scopes.WHISPERS_EDIT}

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading} - FakeTwitch</title>
<style>
:root{{color-scheme:light dark}}
body{{max-width:32rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}}
button,input{{font:inherit;padding:.5rem 1rem}}
</style>
<p><strong>FakeTwitch.</strong> A double for tests. This is not Twitch.</p>
<h1>{heading}</h1>
{body}
</html>
"""

_CONSENT: Final = """{question}
<p>Client id {client_id}</p>
<p>It asks for: {scopes}</p>
<form method="post" action="{action}">
{hidden}
<p><label>Sign in as <input name="user" value="{login}" list="users" required></label></p>
<datalist id="users">{users}</datalist>
<button name="decision" value="authorize">Authorize</button>
<button name="decision" value="cancel" formnovalidate>Cancel</button>
</form>"""


@dataclass(slots=True)
class ConsentRequest:
    """A request for consent whose client and redirect URI are good."""

    client: Client
    redirect_uri: str
    state: str | None = None
    scopes: tuple[str, ...] = ()
    id_token: IdTokenRequest = field(default_factory=IdTokenRequest)

    def redirect(self, **params: str) -> Answer:
        """Send the browser back."""
        if self.state is not None:
            params["state"] = self.state
        mark = "&" if "?" in self.redirect_uri else "?"
        return Answer(302, headers={"Location": f"{self.redirect_uri}{mark}{urlencode(params)}"})

    def error(self, error: str, description: str) -> Answer:
        """Send the browser back with an error."""
        return self.redirect(error=error, error_description=description)


class Consent:
    """The handlers of the pages."""

    def __init__(self, state: State, tokens: Tokens, logins: Logins) -> None:
        self._state = state
        self._tokens = tokens
        self._logins = logins

    def overview(self, _: Call) -> Answer:
        """The page at `/`: which users and applications there are, and which codes wait."""
        codes = [
            f'<a href="/activate?device-code={login.user_code}">{login.user_code}</a> for '
            f"{escape(login.client.client_id)}: {escape(', '.join(login.scopes)) or 'no scopes'}"
            for login in self._logins.waiting()
        ]
        users = [f"{user.login} ({user.user_id})" for user in self._state.users.values()]
        clients = [
            f"{escape(client.client_id)}, {'public' if client.public else 'confidential'}"
            for client in self._state.clients.values()
        ]
        lists = {"Codes that wait": codes, "Users": users, "Client ids": clients}
        body = "".join(
            f"<h2>{title}</h2><ul><li>{'</li><li>'.join(items) or 'none'}</li></ul>"
            for title, items in lists.items()
        )
        return _page("A double of Twitch", body)

    def authorize(self, call: Call) -> Answer:
        """The page /oauth2/authorize: consent by command, by an earlier consent, or by a click."""
        request = self._request(call)
        if isinstance(request, Answer):
            return request
        if call.method == "POST":
            return self._decided(request, self._clicked(call))
        if self._logins.auto_consent_deny:
            return self._decided(request, None)
        user = self._logins.auto_consent or self._consented_before(request, call)
        if user is not None:
            return self._decided(request, user)
        return self._ask(call, "/oauth2/authorize", request, call.params)

    def _request(self, call: Call) -> ConsentRequest | Answer:
        client = self._state.clients.get(required(call, "client_id", "client ID"))
        if client is None:
            raise Refusal(400, "invalid client")
        uri = call.params.get("redirect_uri", "")
        if uri not in client.redirect_uris:
            return _mismatch(client)
        request = ConsentRequest(client, uri, call.params.get("state"))
        if call.params.get("response_type") != "code":  # the double has no implicit flow
            return request.error("unsupported_response_type", "Response type is not supported")
        if "scope" not in call.params:
            raise Refusal(400, "missing scope")
        request.scopes = _requested_scopes(client, call.params["scope"])
        request.id_token = IdTokenRequest.of(call.params)
        return request

    def _consented_before(self, request: ConsentRequest, call: Call) -> User | None:
        user = self._state.users.get(call.cookies.get(COOKIE, ""))
        if user is None or call.params.get("force_verify", "").lower() == "true":
            return None
        grant = self._tokens.grant(request.client, user)
        return user if grant is not None and grant.scopes.issuperset(request.scopes) else None

    def _decided(self, request: ConsentRequest, user: User | None) -> Answer:
        if user is None:
            return request.error("access_denied", "The user denied you access")
        code = self._logins.new_code(request, user)
        return _remember(user, request.redirect(code=code, scope=" ".join(request.scopes)))

    def activate(self, call: Call) -> Answer:
        """The page /activate, behind `verification_uri`: approve or deny the code."""
        login = self._logins.pending(call.params.get("device-code", ""))
        if login is None:
            text = "<p>It may have expired, or somebody has answered already.</p>"
            return _page("No login waits under this code", text, 404)
        if call.method == "GET":
            return self._ask(call, "/activate", login, {"device-code": login.user_code})
        user = self._clicked(call)
        self._logins.decide(login.user_code, user)
        if user is None:
            return _page("Cancelled", "<p>The application gets no access.</p>")
        text = "<p>You can close this page and go back to the application.</p>"
        return _remember(user, _page("Done", text))

    def _ask(
        self,
        call: Call,
        action: str,
        asked: ConsentRequest | DeviceLogin,
        hidden: Mapping[str, str],
    ) -> Answer:
        """Ask whether a user, at first the one who consented last, lets the application in."""
        users = list(self._state.users.values())
        earlier = self._state.users.get(call.cookies.get(COOKIE, ""))
        code = escape(hidden.get("device-code", ""))
        body = _CONSENT.format(
            question=f"<p>Does your device show the code <b>{code}</b>?</p>" if code else "",
            client_id=escape(asked.client.client_id),
            scopes=escape(", ".join(asked.scopes)) or "nothing but who you are (no scopes)",
            action=action,
            hidden="".join(
                f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
                for name, value in hidden.items()
            ),
            login=next((user.login for user in (earlier, *users) if user), ""),
            users="".join(
                f'<option value="{user.login}">{escape(user.display_name)}</option>'
                for user in users
            ),
        )
        return _page(f"{asked.client.name} wants to use your account", body)

    def _clicked(self, call: Call) -> User | None:
        if call.form.get("decision") != "authorize":
            return None
        try:
            return self._state.user(call.form.get("user", ""))
        except ValueError as error:
            raise Refusal(400, str(error)) from None


def _requested_scopes(client: Client, text: str) -> tuple[str, ...]:
    scopes = split_scopes(text)
    bad = next((scope for scope in scopes if scope not in KNOWN_SCOPES - RETIRED), None)
    if bad is not None and client.switches.unknown_scopes == "refuse":
        raise Refusal(400, f"The scope {bad} is currently unavailable")
    return scopes


def _mismatch(client: Client) -> Answer:
    """To the first registered URI, never the one passed, and without state."""
    if not client.redirect_uris:
        raise Refusal(400, MISMATCH)
    return ConsentRequest(client, client.redirect_uris[0]).error("redirect_mismatch", MISMATCH)


def _remember(user: User, answer: Answer) -> Answer:
    answer.headers["Set-Cookie"] = f"{COOKIE}={user.user_id}; Path=/; HttpOnly; SameSite=Lax"
    return answer


def _page(heading: str, body: str, status: int = 200) -> Answer:
    """A page with a heading; the body is HTML already."""
    page = _PAGE.format(heading=escape(heading), body=body)
    return Answer(status, page.encode(), f"{HTML}; charset=utf-8")
