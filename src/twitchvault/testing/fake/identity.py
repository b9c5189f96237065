"""The identity service: /oauth2/token, device, validate and revoke."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from twitchvault.scopes import Scopes

from .messages import Answer, Call, encode
from .model import Client, Pair, Refusal
from .openid import OPENID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .logins import Logins
    from .openid import IdTokens
    from .state import State
    from .tokens import Access, Tokens

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS: Final = {
    "refresh_token": "token:refresh_token",
    "client_credentials": "token:client_credentials",
    DEVICE_GRANT: "token:device",
    "authorization_code": "token:code",
}
"""Every grant type, and the name of its endpoint for faults, gates and the log."""
KNOWN_SCOPES: Final = frozenset(str(scope) for scope in Scopes)


class Identity:
    """The handlers; each takes a call and returns an answer, or raises a Refusal."""

    def __init__(self, state: State, tokens: Tokens, logins: Logins, id_tokens: IdTokens) -> None:
        self._state = state
        self._tokens = tokens
        self._logins = logins
        self._id_tokens = id_tokens
        self._windows: dict[str, deque[float]] = {}
        self._grants = {
            "refresh_token": self._refresh,
            "client_credentials": self._client_credentials,
            DEVICE_GRANT: self._poll,
            "authorization_code": self._exchange_code,
        }

    def limited(self, call: Call) -> bool:
        """Whether this call is one too many for its client within the window."""
        settings = self._state.settings
        if settings.identity_limit is None:
            return False
        now, window = self._state.now(), self._windows.setdefault(self._caller(call), deque())
        while window and now - window[0] >= settings.identity_window:
            window.popleft()
        if len(window) >= settings.identity_limit:
            return True
        window.append(now)
        return False

    def _caller(self, call: Call) -> str:
        token = self._tokens.find(call.credentials[1])
        return call.params.get("client_id", "") if token is None else token.client.client_id

    def _client(self, call: Call) -> Client:
        client = self._state.clients.get(required(call, "client_id", "client id"))
        if client is None:
            raise Refusal(400, "invalid client")
        return client

    def token(self, call: Call) -> Answer:
        """POST /oauth2/token: one of the four grants."""
        grant_type = required(call, "grant_type", "grant type")
        if grant_type not in self._grants:
            raise Refusal(400, "invalid grant type")
        return self._grants[grant_type](call)

    def _refresh(self, call: Call) -> Answer:
        client = self._client(call)
        value = required(call, "refresh_token", "refresh token")
        _check_scopes(call.params.get("scope", "").split())
        if not client.public:
            _check_secret(client, call)
        elif "client_secret" in call.params:
            raise Refusal(403, "invalid client secret")
        if client.switches.false_invalid_refresh > 0:
            client.switches.false_invalid_refresh -= 1
            raise Refusal(400, "Invalid refresh token")
        return _pair_answer(client, self._tokens.refresh(client, value))

    def _client_credentials(self, call: Call) -> Answer:
        client = self._client(call)
        _check_secret(client, call)
        token, seconds = self._tokens.issue_app(client)
        padded = client.switches.app_answer == "padded"
        more: dict[str, object] = {"refresh_token": "", "scope": []} if padded else {}
        return _token_answer(client, token.value, seconds, more)

    def _poll(self, call: Call) -> Answer:
        client = self._client(call)
        code = required(call, "device_code", "device_code")
        return _pair_answer(client, self._logins.poll(client, code))

    def _exchange_code(self, call: Call) -> Answer:
        client = self._client(call)
        _check_secret(client, call)
        code, redirect_uri = (required(call, name, name) for name in ("code", "redirect_uri"))
        login = self._logins.take_code(client, code, redirect_uri)
        scopes = login.request.scopes
        pair = self._tokens.issue(client, login.user, scopes)
        more = {"id_token": self._id_tokens.issue(login, call.base)} if OPENID in scopes else {}
        return _pair_answer(client, pair, **more)

    def device(self, call: Call) -> Answer:
        """POST /oauth2/device: start a login; a client secret is not needed and not looked at."""
        client = self._client(call)
        names = ("scopes", "scope") if client.switches.honour_scope else ("scopes",)
        source = call.params if client.switches.honour_query else call.form
        scopes = split_scopes(" ".join(source.get(name, "") for name in names))
        if client.switches.unknown_scopes == "refuse":
            _check_scopes(scopes)
        login = self._logins.start_device(client, scopes)
        answer = {
            "device_code": login.device_code,
            "expires_in": max(1, int(login.expires_at - login.started)),
            "interval": int(login.interval) if login.interval % 1 == 0 else login.interval,
            "user_code": login.user_code,
            "verification_uri": f"{call.base}/activate?device-code={login.user_code}",
        }
        return Answer(200, encode(answer))

    def validate(self, call: Call) -> Answer:
        """GET /oauth2/validate: whose token it is; `OAuth` and `Bearer` in any case."""
        scheme, value = call.credentials
        if scheme not in {"oauth", "bearer"} or not value:
            raise Refusal(401, "missing authorization token")
        known = self._tokens.find(value)
        if known is not None:
            known.validations.append(self._state.now())
        token = self._tokens.find_valid(value)
        if token is None:
            raise Refusal(401, "invalid access token")
        return Answer(200, encode(self._description(token)))

    def _description(self, token: Access) -> dict[str, object]:
        switches, user, ends = token.client.switches, token.user, token.expires_at
        scopes = list(token.scopes) or None
        if user is None:
            null = switches.app_subject == "null"
            login: dict[str, object] = {"login": None} if null else {}
            user_id: dict[str, object] = {"user_id": None} if null else {}
            scopes = [] if switches.app_scopes == "list" else None
        else:
            login, user_id = {"login": user.login}, {"user_id": user.user_id}
        left = 0 if ends is None else max(1, int(ends - self._state.now()))
        client_id = token.client.client_id
        return {"client_id": client_id, **login, "scopes": scopes, **user_id, "expires_in": left}

    def revoke(self, call: Call) -> Answer:
        """POST /oauth2/revoke: kill an access token; the refresh token survives."""
        client = self._state.clients.get(call.params.get("client_id", ""))
        if client is None:
            raise Refusal(404, "client does not exist")
        token = self._tokens.find_valid(required(call, "token", "oauth token"))
        if token is None or token.client is not client:
            raise Refusal(400, "Invalid token")
        self._tokens.kill(token)
        return Answer(200)


def split_scopes(text: str) -> tuple[str, ...]:
    """A space-separated list, each name once, in order."""
    return tuple(dict.fromkeys(text.split()))


def required(call: Call, name: str, text: str) -> str:
    """The parameter of that name, which must not be empty; `text` is what the refusal calls it."""
    value = call.params.get(name)
    if not value:
        raise Refusal(400, f"missing {text}")
    return value


def _check_scopes(scopes: Iterable[str]) -> None:
    unknown = next((scope for scope in scopes if scope not in KNOWN_SCOPES), None)
    if unknown is not None:
        raise Refusal(400, f"invalid scope requested: '{unknown}'")


def _check_secret(client: Client, call: Call) -> None:
    if required(call, "client_secret", "client secret") != client.client_secret:
        raise Refusal(403, "invalid client secret")


def _pair_answer(client: Client, pair: Pair, **more: object) -> Answer:
    answer: dict[str, object] = {"refresh_token": pair.refresh_token, **more}
    shape = client.switches.scope_shape
    if shape == "string":
        answer["scope"] = " ".join(pair.scopes)
    elif pair.scopes or shape == "blank":
        answer["scope"] = list(pair.scopes) or [""]
    return _token_answer(client, pair.access_token, pair.expires_in, answer)


def _token_answer(
    client: Client, access_token: str, expires_in: int | None, more: dict[str, object]
) -> Answer:
    switches = client.switches
    answer: dict[str, object] = {"access_token": access_token}
    if expires_in is not None and not switches.omit_expires_in:
        answer["expires_in"] = expires_in
    answer |= more
    if not switches.omit_token_type:
        answer["token_type"] = "bearer"  # noqa: S105 - the kind of token
    if switches.extra_keys:
        answer |= {"session": {"kind": "unknown", "level": 7}, "nonce": None}
    return Answer(200, encode(answer))
