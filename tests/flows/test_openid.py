"""OpenID Connect: the id token of a login, and every way in which it can be wrong."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from tests.environment import REDIRECT
from tests.http_servers import sent_back
from twitchvault import AuthFailure, HTTPException, IdToken, MissingDriver, Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.environment import Environment
    from twitchvault.oauth import AuthorizationCodeGrantFlow

OPENID = {"openid", "user:read:email"}
NONCE = "n-0S6_WzA2Mj"
CLAIMS = {"id_token": {"email": None, "email_verified": None, "preferred_username": None}}


@pytest.fixture
async def flow(env: Environment) -> AsyncIterator[AuthorizationCodeGrantFlow]:
    """A flow whose users consent as alice."""
    env.twitch.auto_consent(env.alice)
    async with env.code(env.confidential) as flow:
        yield flow


async def sign_in(flow: AuthorizationCodeGrantFlow, **openid: Any) -> Token:  # noqa: ANN401
    """What Twitch answers to the code of a user who has been to the authorization page."""
    query = await sent_back(flow.get_authorization_url(REDIRECT, OPENID, **openid))
    return await flow.get_authorization_token(query["code"], REDIRECT)


def with_id_token(id_token: object) -> Token:
    """An answer with that id token in it."""
    return Token(access_token="access", raw={"id_token": id_token})


async def refusal(
    flow: AuthorizationCodeGrantFlow, token: Token, nonce: str | None = None
) -> AuthFailure:
    """The error of an id token that is not good."""
    with pytest.raises(AuthFailure) as caught:
        await flow.check_id_token(token, nonce=nonce)
    return caught.value


async def test_who_has_signed_in(flow: AuthorizationCodeGrantFlow, env: Environment) -> None:
    """The claims that were asked for, and the user is the one whose tokens came with them."""
    token = await sign_in(flow, nonce=NONCE, claims=CLAIMS)
    claims = await flow.check_id_token(token, nonce=NONCE)
    user = await flow.add_user(token.access_token, token.refresh_token)
    assert claims.sub == user.user_id == env.alice.user_id
    assert (claims.email, claims.email_verified) == ("alice@example.com", True)
    assert (claims.preferred_username, claims.picture) == ("Alice", None)
    assert claims.raw["nonce"] == NONCE
    assert "alice@" not in repr(claims)


async def test_another_nonce(flow: AuthorizationCodeGrantFlow) -> None:
    """An id token of another login is refused, also where one side has forgotten the nonce."""
    without, token = await sign_in(flow), await sign_in(flow, nonce=NONCE)
    assert isinstance(await flow.check_id_token(without), IdToken)
    for wrong, nonce in ((without, NONCE), (token, None), (token, "another"), (token, "")):
        assert "its nonce is not the one of this login" in str(await refusal(flow, wrong, nonce))


async def test_another_application(env: Environment) -> None:
    """An id token for somebody else's application signs nobody in here."""
    env.twitch.auto_consent(env.alice)
    other = env.twitch.register_client(redirect_uris=[REDIRECT])
    async with env.code(env.confidential) as ours, env.code(other) as theirs:
        assert "Audience" in str(await refusal(ours, await sign_in(theirs)))


async def test_another_issuer(flow: AuthorizationCodeGrantFlow, env: Environment) -> None:
    """The service must name itself, or Twitch, as the issuer."""
    token = await sign_in(flow)
    elsewhere = str(URL(env.twitch.id_url).with_host("localhost"))
    async with env.code(env.confidential, id_url=elsewhere, api_url=env.twitch.api_url) as other:
        assert "issuer" in str(await refusal(other, token))


@pytest.mark.parametrize(("seconds", "word"), [(-200, "expired"), (3600, "not yet valid")])
async def test_times(
    flow: AuthorizationCodeGrantFlow, env: Environment, seconds: float, word: str
) -> None:
    """One that has expired, or comes from the future, is refused; 50 seconds do no harm."""
    env.twitch.advance(50)
    assert (await flow.check_id_token(await sign_in(flow))).sub == env.alice.user_id
    if seconds < 0:
        env.twitch.id_token_lifetime = seconds
    else:
        env.twitch.advance(seconds)
    assert word in str(await refusal(flow, await sign_in(flow)))


async def test_another_signature(flow: AuthorizationCodeGrantFlow, env: Environment) -> None:
    """Only a key that Twitch publishes counts, whatever the id token says, and for all of it."""
    now = int(time.time())
    claims = {
        "iss": env.twitch.id_url.rstrip("/"), "sub": env.alice.user_id, "iat": now,
        "aud": env.confidential.client_id, "exp": now + 900,
    }  # fmt: skip
    key = rsa.generate_private_key(65537, 2048)
    for key_id in ("1", "2", None):
        forged = jwt.encode(claims, key, "RS256", headers={"kid": key_id} if key_id else None)
        await refusal(flow, with_id_token(forged))
    unsigned = jwt.encode(claims, "", "none", headers={"kid": "1"})
    assert "alg" in str(await refusal(flow, with_id_token(unsigned)))
    symmetric = jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "1"})
    assert "alg" in str(await refusal(flow, with_id_token(symmetric)))
    head, _, signature = (await sign_in(flow)).raw["id_token"].split(".")
    body = base64.urlsafe_b64encode(json.dumps({"sub": "1"}).encode()).decode().rstrip("=")
    error = await refusal(flow, with_id_token(f"{head}.{body}.{signature}"))
    assert "Signature verification failed" in str(error)


@pytest.mark.parametrize("id_token", ["", "no token", "a.b.c", "..", "ä.ö.ü", "e30.e30.e30"])
async def test_what_is_no_id_token(flow: AuthorizationCodeGrantFlow, id_token: str) -> None:
    """It is refused like one that is wrong."""
    assert "the id token is not good: " in str(await refusal(flow, with_id_token(id_token)))


async def test_no_id_token(flow: AuthorizationCodeGrantFlow, env: Environment) -> None:
    """The error says which scope is missing, and Twitch is not asked for its keys."""
    for token in (with_id_token(None), Token(access_token="access")):
        assert "ask for the scope 'openid'" in str(await refusal(flow, token))
    assert not env.log("keys")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 200, "body": {}},
        {"status": 200, "body": {"keys": 1}},
        {"status": 200, "body": {"keys": ["x"]}},
    ],
)
async def test_no_keys_can_be_had(
    flow: AuthorizationCodeGrantFlow, env: Environment, fault: dict[str, Any]
) -> None:
    """Nothing is said about the id token then; later it can be checked."""
    token = await sign_in(flow)
    env.twitch.fail("keys", **fault)
    with pytest.raises(HTTPException, match=r"^503|cannot be used: 'keys' is"):
        await flow.check_id_token(token)
    assert (await flow.check_id_token(token)).sub == env.alice.user_id


@pytest.mark.parametrize(
    "key",
    [
        {"kid": "2"},
        {"kid": "1"},
        {"kid": "1", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "1", "kty": "RSA", "n": 5, "e": "AQAB"},
        {"kid": "1", "kty": "RSA", "n": "", "e": ""},
    ],
)
async def test_keys_that_do_not_fit(
    flow: AuthorizationCodeGrantFlow, env: Environment, key: dict[str, object]
) -> None:
    """An unknown or a damaged key signs nothing."""
    token = await sign_in(flow)
    env.twitch.fail("keys", status=200, body={"keys": [key]})
    await refusal(flow, token)


async def test_the_url(env: Environment) -> None:
    """`nonce` and `claims` stand in it; both are for an id token."""
    flow = env.code(env.confidential)
    url = flow.get_authorization_url(REDIRECT, ["openid"], nonce=NONCE, claims=CLAIMS)
    query = URL(url).query
    assert query["nonce"] == NONCE
    assert json.loads(query["claims"]) == CLAIMS
    for openid in ({"nonce": NONCE}, {"claims": CLAIMS}):
        with pytest.raises(ValueError, match="add the scope 'openid'"):
            flow.get_authorization_url(REDIRECT, ["chat:read"], **openid)
    for claims in ({"id_token": {1, 2}}, 5, "email"):
        with pytest.raises(TypeError, match="'claims' must be a mapping of JSON values"):
            flow.get_authorization_url(REDIRECT, ["openid"], claims=claims)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'nonce' must be one word"):
        flow.get_authorization_url(REDIRECT, ["openid"], nonce="a b")


async def test_without_the_extra(
    flow: AuthorizationCodeGrantFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what to install; signing in works without it."""
    token = await sign_in(flow)
    monkeypatch.delitem(sys.modules, "twitchvault.oauth.openid", raising=False)
    monkeypatch.delattr("twitchvault.oauth.openid", raising=False)
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(MissingDriver, match=r"pip install 'twitchvault\[openid\]'"):
        await flow.check_id_token(token)
