"""OpenID Connect: the id token of a code, and the keys that it is signed with."""

from __future__ import annotations

import sys

import jwt
import pytest

from .http import HTTP, register

ASKED = '{"id_token":{"email":null,"picture":null},"userinfo":{"preferred_username":null}}'


async def id_token(http: HTTP, **params: str) -> object:
    """What the answer to alice's code holds; the parameters go to the consent page."""
    client = register(http)
    http.twitch.auto_consent(http.twitch.add_user("alice"))
    _, back = (await http.authorize(client, **params)).redirected
    return (await http.exchange(client, back["code"])).json.get("id_token")


async def claims(http: HTTP, **params: str) -> dict[str, object]:
    """The claims of such an id token, whose signature one of the published keys verifies."""
    token = await id_token(http, **params)
    keys = (await http.send("GET", http.twitch.id_url + "keys")).json["keys"]
    assert isinstance(token, str)
    assert isinstance(keys, list)
    assert {"alg": "RS256", "kid": "1", "kty": "RSA", "use": "sig"}.items() <= keys[0].items()
    found: dict[str, object] = jwt.decode(
        token, jwt.PyJWK(keys[0]), ["RS256"], options={"verify_aud": False}
    )
    return found


async def test_an_id_token(http: HTTP) -> None:
    """It names the issuer, the client and the user; it echoes the nonce, and is a secret."""
    found = await claims(http, scope="openid", nonce="n-1")
    (client_id,) = http.twitch._state.clients
    assert found["iss"] == http.twitch.id_url.rstrip("/")
    assert found["aud"] == found["azp"] == client_id
    assert (found["sub"], found["nonce"]) == ("100000001", "n-1")
    assert int(str(found["exp"])) - int(str(found["iat"])) == 900
    assert set(found) == {"iss", "aud", "azp", "sub", "iat", "exp", "nonce"}


@pytest.mark.parametrize(("scopes", "more"), [("", set()), (" user:read:email", {"email"})])
async def test_only_claims_that_were_asked_for(http: HTTP, scopes: str, more: set[str]) -> None:
    """An address comes only with the scope for it, and what is for `userinfo` does not come."""
    found = await claims(http, scope=f"openid{scopes}", claims=ASKED)
    optional = {"email", "picture", "preferred_username", "nonce"}
    assert optional & set(found) == {"picture"} | more
    assert found.get("email", "alice@example.com") == "alice@example.com"


async def test_no_id_token_without_its_scope(http: HTTP) -> None:
    """A nonce alone brings none."""
    assert await id_token(http, scope="chat:read", nonce="n-1") is None


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"id_token":1}'])
async def test_claims_that_are_none(http: HTTP, text: str) -> None:
    """They are refused before anybody is asked."""
    reply = await http.authorize(register(http), scope="openid", claims=text)
    assert reply.message == (400, "invalid claims")


async def test_without_pyjwt(http: HTTP, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says what to install."""
    monkeypatch.setitem(sys.modules, "jwt", None)
    reply = await http.send("GET", http.twitch.id_url + "keys")
    assert reply.message == (
        501,
        "the double signs id tokens by PyJWT: pip install 'twitchvault[openid]'",
    )
