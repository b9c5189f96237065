"""The authorization code grant (RFC 6749, section 4.1): for applications with a web server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twitchvault import inputs
from twitchvault.app import App
from twitchvault.errors import WrongType, WrongValue
from twitchvault.loops import on_bound_loop
from twitchvault.scopes import Scopes, scope_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twitchvault.models import IdToken, Token

__all__ = ["AuthorizationCodeGrantFlow"]


class AuthorizationCodeGrantFlow(App):
    """Sends the user's browser to Twitch and exchanges the code it comes back with.

    Needs a client secret. Parameters as for `App`.
    """

    def get_authorization_url(
        self,
        redirect_uri: str,
        scopes: Iterable[str] = frozenset(),
        state: str | None = None,
        force_verify: bool = False,
        *,
        nonce: str | None = None,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """The page to send the user's browser to; the scopes stand in a stable order.

        `redirect_uri` must equal one registered in Twitch's console byte for byte. `state` comes
        back unchanged: make it random and compare it, or anybody can slip a user somebody else's
        code. `force_verify` asks users who have approved before as well. With the scope `openid`
        the answer to the code has an id token: `nonce` comes back in it, and `claims` says what
        else, `{"id_token": {"email": None}}` for example.
        """
        redirect_uri, names = inputs.word("redirect_uri", redirect_uri), scope_names(scopes)
        openid = {
            "nonce": None if nonce is None else inputs.word("nonce", nonce),
            "claims": None if claims is None else _json(claims),
        }
        if any(openid.values()) and Scopes.OPENID not in names:
            raise WrongValue("'nonce' and 'claims' are for an id token: add the scope 'openid'")
        return self._core.identity.authorization_url(
            redirect_uri, names, state, force_verify, **openid
        )

    @on_bound_loop
    async def get_authorization_token(self, code: str, redirect_uri: str) -> Token:
        """Exchange the code of the callback; a code is good once. The answer is only returned.

        Pass the pair to `add_user` to keep it. `redirect_uri` is that of the page. `BadRequest` if
        the code is not good (any more), `Forbidden` for a wrong secret.
        """
        return await self._core.identity.exchange_code(
            inputs.word("code", code), inputs.word("redirect_uri", redirect_uri)
        )

    @on_bound_loop
    async def check_id_token(self, token: Token, *, nonce: str | None = None) -> IdToken:
        """The claims of the id token in an answer of `get_authorization_token`.

        Checked are its signature, by the keys that Twitch publishes now, its issuer, audience and
        times, and its nonce, which is that of `get_authorization_url`. `AuthFailure` if it is not
        good or not there. Needs `pip install 'twitchvault[openid]'`.
        """
        from twitchvault.oauth import openid  # noqa: PLC0415 - it needs an extra

        return await openid.check(token, nonce, self._core.identity)


def _json(claims: Mapping[str, object]) -> str:
    try:
        return json.dumps(dict(claims), separators=(",", ":"))
    except (TypeError, ValueError):
        example = {"id_token": {"email": None}}
        raise WrongType(f"'claims' must be a mapping of JSON values, like {example}") from None
