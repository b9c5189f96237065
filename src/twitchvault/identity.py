"""id.twitch.tv/oauth2: build the request, send it, parse the answer. No state.

All requests but `validate` carry what is secret in an urlencoded body, `validate` in its header:
never in a URL, which would end up in logs.
Wire facts: https://dev.twitch.tv/docs/authentication/ and its pages getting-tokens-oauth,
refresh-tokens, validate-tokens and revoke-tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from twitchvault.errors import BadRequest, ClientException, HTTPException, Unauthorized
from twitchvault.http import DEFAULT_TIMEOUT
from twitchvault.inputs import base_url
from twitchvault.models import ClientCredentials, DeviceCode, Token, ValidateToken
from twitchvault.responses import TOKEN_FIELDS, error_of, is_good, json_of, refuses_token, unusable
from twitchvault.scopes import scope_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.http import Answer, HTTPClient
    from twitchvault.models import AnswerModel

__all__ = ["Identity", "parse", "refused_grant"]

ISSUER: Final = "https://id.twitch.tv/oauth2"
"""What Twitch calls itself in id tokens, also where `id_url` is a proxy's."""
ANSWER_TIMEOUT: Final = 300.0
"""Seconds for which the answer to a refresh is awaited: it is worth more than any clock."""
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_UNAUTHORIZED: Final = 401
_SECRET_FIELDS: Final = TOKEN_FIELDS | {"code"}
_Model = TypeVar("_Model", bound="AnswerModel")


class Identity:
    """The endpoints of the identity service for one application.

    Every method raises an `HTTPException`: the subclass of the answer's status, `NoAnswer` if there
    was none, or a plain one with the answer's status if that is 2xx but cannot be used.
    `client_secret` None or empty is a `public` client; no empty secret is ever sent.
    """

    def __init__(
        self, http: HTTPClient, client_id: str, client_secret: str | None, id_url: str
    ) -> None:
        self.client_id = client_id
        self.public = not client_secret
        self._http = http
        self._client_secret = client_secret or None
        self._base = base_url("id_url", id_url)
        self.issuers = (ISSUER, self._base)

    async def client_credentials(self) -> ClientCredentials:
        """A new app access token. `ClientException` for a public client: it has none."""
        if self.public:
            msg = "an app access token needs a client secret: pass 'client_secret', or do without"
            raise ClientException(msg)
        form = self._grant("client_credentials", secret=True)
        return await self._post(ClientCredentials, "token", form)

    async def start_device(self, scopes: Iterable[str] = ()) -> DeviceCode:
        """Start a device code flow.

        The scopes go into `scopes`, plural, of this one body: elsewhere they are silently ignored.
        """
        names = " ".join(scope_names(scopes))
        form = {"client_id": self.client_id} | ({"scopes": names} if names else {})
        return await self._post(DeviceCode, "device", form)

    async def poll_device(self, device_code: str, *, timeout: float = DEFAULT_TIMEOUT) -> Token:
        """Ask once for the tokens of a device code; a code is good for one pair.

        `BadRequest` until the user has approved: see `error_code`. No secret is asked for.
        """
        form = self._grant(_DEVICE_GRANT, device_code=device_code)
        return await self._post(Token, "token", form, timeout=timeout, answer_timeout=timeout)

    def authorization_url(
        self,
        redirect_uri: str,
        scopes: Iterable[str] = (),
        state: str | None = None,
        force_verify: bool = False,
        **openid: str | None,
    ) -> str:
        """The page that the user's browser has to visit; `openid`: `nonce`, `claims` as JSON."""
        fields = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(scope_names(scopes)),
            "state": state,
            "force_verify": "true" if force_verify else None,
            **openid,
        }
        query = {name: value for name, value in fields.items() if value is not None}
        return f"{self._base}/authorize?{urlencode(query, quote_via=quote, safe='')}"

    async def exchange_code(self, code: str, redirect_uri: str) -> Token:
        """The tokens of an authorization code; `redirect_uri` byte for byte as in the page's URL.

        The service refuses a public client's, but `id_url` may be a proxy that adds the secret.
        """
        form = self._grant("authorization_code", secret=True, code=code, redirect_uri=redirect_uri)
        return await self._post(Token, "token", form, answer_timeout=DEFAULT_TIMEOUT)

    async def refresh(
        self,
        refresh_token: str,
        *,
        may_send: Callable[[], bool] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Token:
        """Exchange a refresh token. It may be spent by this: see `refused_grant` for the errors.

        `may_send`: see `HTTPClient.send`. `timeout` bounds what comes before the request has left;
        its answer is then awaited as long as the connection lives, 300 seconds at most.
        `NoAnswer.sent` False proves that the token is not spent.
        """
        form = self._grant("refresh_token", secret=True, refresh_token=refresh_token)
        return await self._post(
            Token, "token", form, timeout=timeout, may_send=may_send, answer_timeout=ANSWER_TIMEOUT
        )

    async def validate(
        self, access_token: str, *, timeout: float = DEFAULT_TIMEOUT
    ) -> ValidateToken:
        """Ask about an access token; `Unauthorized` if it is not good (any more).

        A 401 that is not Twitch's own is a proxy's: a plain `HTTPException`.
        """
        if not access_token.isprintable() or any(map(str.isspace, access_token)):
            msg = "'access_token' holds white space or a control character: no token does"
            raise Unauthorized(_UNAUTHORIZED, msg)
        asked = self._validate(access_token, timeout)
        return await self._http.metrics.timed("validation", asked)

    async def _validate(self, access_token: str, timeout: float) -> ValidateToken:
        headers = {"Authorization": f"OAuth {access_token}"}
        url = f"{self._base}/validate"
        answer = await self._http.send("GET", url, headers=headers, timeout=timeout)
        if answer.status == _UNAUTHORIZED and not refuses_token(answer):
            error = error_of(answer, access_token, self._client_secret)
            raise HTTPException(answer.status, error.message, error.headers)
        return parse(ValidateToken, answer, access_token, self._client_secret)

    async def keys(self) -> list[dict[str, Any]]:
        """The public keys that id tokens are signed with now (RFC 7517)."""
        answer = await self._http.send("GET", f"{self._base}/keys")
        found = json_of(answer)
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise unusable(answer, "'keys' is not as documented", ())
        return keys

    async def revoke(self, access_token: str) -> None:
        """Revoke an access token, not the refresh token that came with it.

        `BadRequest` if the token was not good any more, `NotFound` for an unknown client.
        """
        form = {"client_id": self.client_id, "token": access_token}
        answer = await self._http.send("POST", f"{self._base}/revoke", form=form)
        if not is_good(answer):
            raise error_of(answer, access_token, self._client_secret)

    def _grant(self, grant_type: str, *, secret: bool = False, **fields: str) -> dict[str, str]:
        form = {"grant_type": grant_type, "client_id": self.client_id, **fields}
        if secret and self._client_secret is not None:
            form["client_secret"] = self._client_secret
        return form

    async def _post(
        self,
        model: type[_Model],
        path: str,
        form: dict[str, str],
        **options: Any,  # noqa: ANN401 - those of `HTTPClient.send`
    ) -> _Model:
        answer = await self._http.send("POST", f"{self._base}/{path}", form=form, **options)
        return parse(model, answer, self._client_secret, *map(form.get, _SECRET_FIELDS))


def refused_grant(error: BaseException) -> bool:
    """True if a refresh failed because the refresh token itself is no good (any more).

    Only a 400 or 401 whose JSON says `Invalid refresh token` or `invalid_grant` says so.
    """
    return isinstance(error, BadRequest | Unauthorized) and error.error_code == "invalid_grant"


def parse(model: type[_Model], answer: Answer, *secrets: str | None) -> _Model:
    """The model of a good answer. Errors: those of `json_of`, also for a field that is missing."""
    fields = json_of(answer, *secrets, salvage=True)
    if fields is not None and not isinstance(fields, dict):
        raise unusable(answer, "JSON, but not an object", secrets)
    try:
        return model.from_answer(fields or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Raised out here, it carries no trace of the original, which holds the answer.
    what = "is missing" if first["type"] == "missing" else "is not as documented"
    raise unusable(answer, f"{first['loc'][0]!r} {what}", secrets)
