"""The redirect URI of the authorization code flow: checked where it comes in."""

from __future__ import annotations

from typing import Any

import pytest

from twitchvault.oauth import AuthorizationCodeGrantFlow


@pytest.mark.parametrize(
    "uri", [None, 7, b"http://localhost", "", " ", "http://a b", "http://a\x00", "\ud800"]
)
async def test_what_is_no_redirect_uri(uri: Any) -> None:  # noqa: ANN401
    """It is a ValueError that names the argument, before anything is shown or sent."""
    flow = AuthorizationCodeGrantFlow("client-id", "secret", id_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="'redirect_uri' must be"):
        flow.get_authorization_url(uri)
    with pytest.raises(ValueError, match="'redirect_uri' must be"):
        await flow.get_authorization_token("code", uri)


def test_a_pasted_redirect_uri() -> None:
    """White space around it is taken off; everything else stays, byte for byte."""
    flow = AuthorizationCodeGrantFlow("client-id", "secret")
    plain = flow.get_authorization_url("http://localhost:3000/back/?a=%20b")
    assert flow.get_authorization_url(" http://localhost:3000/back/?a=%20b\n") == plain
    assert "redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fback%2F%3Fa%3D%2520b&" in plain
