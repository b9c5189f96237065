"""The authorization code grant (RFC 6749, section 4.1): for applications with a web server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault import inputs
from twitchvault.app import App
from twitchvault.loops import on_bound_loop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twitchvault.models import Token

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
    ) -> str:
        """The page to send the user's browser to; the scopes stand in a stable order.

        `redirect_uri` must equal one registered in Twitch's console byte for byte. `state` comes
        back unchanged: make it random and compare it, or anybody can slip a user somebody else's
        code. `force_verify` asks users who have approved before as well.
        """
        redirect_uri = inputs.word("redirect_uri", redirect_uri)
        return self._core.identity.authorization_url(redirect_uri, scopes, state, force_verify)

    @on_bound_loop
    async def get_authorization_token(self, code: str, redirect_uri: str) -> Token:
        """Exchange the code of the callback; a code is good once. The answer is only returned.

        Pass the pair to `add_user` to keep it. `redirect_uri` is the one the code was asked for
        with. `BadRequest` if the code is not good (any more), `Forbidden` for a wrong secret.
        """
        return await self._core.identity.exchange_code(
            inputs.word("code", code), inputs.word("redirect_uri", redirect_uri)
        )
