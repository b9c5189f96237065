"""The identity service: /oauth2/token, device, validate and revoke."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from . import scopes
from .messages import TEXT, Answer, Call, credentials, encode
from .model import Client, Pair, Refusal

if TYPE_CHECKING:
    from .logins import Logins
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


class Identity:
    """The handlers; each takes a call and returns an answer, or raises a Refusal."""

    def __init__(self, state: State, tokens: Tokens, logins: Logins) -> None:
        self._state = state
        self._tokens = tokens
        self._logins = logins
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
        token = self._tokens.find(credentials(call)[1])
        return call.params.get("client_id", "") if token is None else token.client.client_id

    def _client(self, call: Call) -> Client:
        client_id = call.params.get("client_id")
        if not client_id:
            raise Refusal(400, "missing client id")
        client = self._state.clients.get(client_id)
        if client is None:
            raise Refusal(400, "invalid client")
        return client

    # POST /oauth2/token

    def token(self, call: Call) -> Answer:
        """One of the four grants."""
        grant_type = call.params.get("grant_type")
        if not grant_type:
            raise Refusal(400, "missing grant type")
        if grant_type not in self._grants:
            raise Refusal(400, "invalid grant type")
        return self._grants[grant_type](call)

    def _refresh(self, call: Call) -> Answer:
        try:
            return self._exchange_refresh_token(call)
        except Refusal:
            self._state.counters["refused_refreshes"] += 1
            raise

    def _exchange_refresh_token(self, call: Call) -> Answer:
        client = self._client(call)
        presented = call.params.get("refresh_token")
        if not presented:
            raise Refusal(400, "missing refresh token")
        strange = scopes.unknown(scopes.split(call.params.get("scope", "")))
        if strange is not None:
            raise Refusal(400, f"invalid scope requested: '{strange}'")
        self._check_secret(client, call)
        if client.switches.false_invalid_refresh > 0:
            client.switches.false_invalid_refresh -= 1
            raise Refusal(400, "Invalid refresh token")
        return token_answer(client, self._tokens.refresh(client, presented))

    def _check_secret(self, client: Client, call: Call) -> None:
        sent = call.params.get("client_secret")
        if client.public:
            if sent is not None and client.switches.secret_on_public == "refuse":  # noqa: S105 - a choice
                raise Refusal(403, "invalid client secret")
        else:
            _require_secret(client, sent)

    def _client_credentials(self, call: Call) -> Answer:
        client = self._client(call)
        _require_secret(client, call.params.get("client_secret"))
        token, seconds = self._tokens.issue_app(client)
        self._state.counters["app_tokens"] += 1
        answer: dict[str, object] = {"access_token": token.value}
        if seconds is not None and not client.switches.omit_expires_in:
            answer["expires_in"] = seconds
        if client.switches.app_answer == "padded":
            answer |= {"refresh_token": "", "scope": []}
        return _finish(client, answer)

    def _poll(self, call: Call) -> Answer:
        client = self._client(call)
        device_code = call.params.get("device_code")
        if not device_code:
            raise Refusal(400, "missing device_code")
        return token_answer(client, self._logins.poll(client, device_code))

    def _exchange_code(self, call: Call) -> Answer:
        client, params = self._client(call), call.params
        _require_secret(client, params.get("client_secret"))
        for name in ("code", "redirect_uri"):
            if not params.get(name):
                raise Refusal(400, f"missing {name}")
        pair = self._logins.exchange_code(client, params["code"], params["redirect_uri"])
        return token_answer(client, pair)

    # POST /oauth2/device

    def device(self, call: Call) -> Answer:
        """Start a device login; a client secret is not needed and not looked at."""
        client = self._client(call)
        asked = self._device_scopes(client, call)
        strange = scopes.unknown(asked)
        if strange is not None and client.switches.unknown_scopes == "refuse":
            raise Refusal(400, f"invalid scope requested: '{strange}'")
        login = self._logins.start_device(client, asked)
        return Answer(
            200,
            encode(
                {
                    "device_code": login.device_code,
                    "expires_in": max(1, int(login.expires_at - login.started)),
                    "interval": _whole(login.interval),
                    "user_code": login.user_code,
                    "verification_uri": f"{call.base}/activate?device-code={login.user_code}",
                }
            ),
        )

    def _device_scopes(self, client: Client, call: Call) -> tuple[str, ...]:
        names = ("scopes", "scope") if client.switches.honour_scope else ("scopes",)
        source = call.params if client.switches.honour_query else call.form
        return scopes.split(" ".join(source.get(name, "") for name in names))

    # GET /oauth2/validate

    def validate(self, call: Call) -> Answer:
        """Say whose token it is; `OAuth` and `Bearer` in any case."""
        self._state.counters["validations"] += 1
        scheme, value = credentials(call)
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
        switches = token.client.switches
        answer: dict[str, object] = {"client_id": token.client.client_id}
        if token.user is not None:
            answer |= {"login": token.user.login, "user_id": token.user.user_id}
            answer["scopes"] = list(token.scopes) or None
        else:
            if switches.app_subject == "null":
                answer |= {"login": None, "user_id": None}
            answer["scopes"] = [] if switches.app_scopes == "list" else None
        rest = token.expires_at
        answer["expires_in"] = 0 if rest is None else max(1, int(rest - self._state.now()))
        return answer

    # POST /oauth2/revoke

    def revoke(self, call: Call) -> Answer:
        """Kill an access token; the refresh token survives."""
        client = self._state.clients.get(call.params.get("client_id", ""))
        if client is None:
            raise Refusal(404, "client does not exist")
        value = call.params.get("token")
        if not value:
            raise Refusal(400, "missing oauth token")
        token = self._tokens.find_valid(value)
        if token is None or token.client is not client:
            raise Refusal(400, "Invalid token")
        self._tokens.kill(token)
        self._state.counters["revocations"] += 1
        return Answer(200, content_type=TEXT)


def token_answer(client: Client, pair: Pair) -> Answer:
    """A token answer in the shape that the client's switches ask for."""
    switches = client.switches
    answer: dict[str, object] = {"access_token": pair.access_token}
    if pair.expires_in is not None and not switches.omit_expires_in:
        answer["expires_in"] = pair.expires_in
    answer["refresh_token"] = pair.refresh_token
    if switches.scope_shape == "string":
        answer["scope"] = " ".join(pair.scopes)
    elif pair.scopes:
        answer["scope"] = list(pair.scopes)
    elif switches.scope_shape == "blank":
        answer["scope"] = [""]
    return _finish(client, answer)


def _finish(client: Client, answer: dict[str, object]) -> Answer:
    if not client.switches.omit_token_type:
        answer["token_type"] = "bearer"  # noqa: S105 - a word of the wire
    if client.switches.extra_keys:
        answer |= {"session": {"kind": "unknown", "level": 7}, "nonce": None}
    return Answer(200, encode(answer))


def _require_secret(client: Client, sent: str | None) -> None:
    if not sent:
        raise Refusal(400, "missing client secret")
    if sent != client.client_secret:
        raise Refusal(403, "invalid client secret")


def _whole(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds
