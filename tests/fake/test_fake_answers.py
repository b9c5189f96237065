"""Token answers, validate, revoke, app tokens: shapes, lifetimes and the log."""

from __future__ import annotations

import re

import pytest

from twitchvault.testing import FakeTwitch

from .http import HTTP, connected, public, register

# Token answers


async def test_token_formats(http: HTTP) -> None:
    """Client id, secret and access token have 30, the refresh token 50 letters and digits.

    The same seed gives the same ones.
    """
    client, pair = connected(http)
    for value in (client.client_id, client.client_secret, pair.access_token):
        assert re.fullmatch(r"[a-z0-9]{30}", str(value))
    assert re.fullmatch(r"[a-z0-9]{50}", pair.refresh_token)
    seeds = (3, 3, 4, None, None)
    assert len({FakeTwitch(seed=seed).register_client().client_id for seed in seeds}) == 4


@pytest.mark.parametrize(
    ("shape", "scopes", "expected"),
    [
        ("list", [], None),
        ("string", ["chat:read", "chat:edit"], "chat:read chat:edit"),
        ("string", [], ""),
        ("blank", [], [""]),
        ("blank", ["chat:read"], ["chat:read"]),
    ],
)
async def test_scope_shapes(http: HTTP, shape: str, scopes: list[str], expected: object) -> None:
    """The key is absent without scopes; the switches give the other shapes seen."""
    client, _ = public(http, scope_shape=shape)
    pair = http.twitch.issue(client, "alice", scopes)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert answer.get("scope") == expected
    assert ("scope" in answer) is (expected is not None)


async def test_keys_may_be_missing_or_unknown(http: HTTP) -> None:
    """A legacy client's tokens never expire, which validate tells by a 0."""
    client, pair = public(http, legacy=True, omit_token_type=True, extra_keys=True)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert set(answer) == {"access_token", "refresh_token", "scope", "session", "nonce"}
    http.twitch.advance(20 * 86_400)
    assert (await http.validate(str(answer["access_token"]))).json["expires_in"] == 0
    http.twitch.switch(client, legacy=False, omit_expires_in=True)
    assert "expires_in" not in (await http.refresh(client, str(answer["refresh_token"]))).json


# App tokens


async def test_app_token_answer(http: HTTP) -> None:
    """An app token lives 58 to 60 days; the older shape has empty further keys."""
    client = register(http)
    answer = (await http.token(client, "client_credentials")).json
    assert isinstance(answer["expires_in"], int)
    assert 58 * 86_400 <= answer["expires_in"] <= 60 * 86_400
    assert http.twitch.counts.app_tokens == 1
    http.twitch.switch(client, app_answer="padded")
    answer = (await http.token(client, "client_credentials")).json
    assert (answer["refresh_token"], answer["scope"]) == ("", [])


async def test_a_public_client_gets_no_app_token(http: HTTP) -> None:
    """Client credentials need a secret, and a public client has none."""
    client, _ = public(http)
    reply = await http.token(client, "client_credentials")
    assert reply.message == (400, "missing client secret")
    reply = await http.token(client, "client_credentials", client_secret="guess")
    assert reply.message == (403, "invalid client secret")


async def test_validated_app_token_may_have_null_for_a_user(http: HTTP) -> None:
    """By default both keys are absent; the documented form has them as null."""
    token = await http.app_token(register(http, app_subject="null"))
    answer = (await http.validate(token)).json
    assert list(answer) == ["client_id", "login", "scopes", "user_id", "expires_in"]
    assert answer["login"] is answer["user_id"] is answer["scopes"] is None


async def test_app_tokens_die_by_command(http: HTTP) -> None:
    """All app tokens of a client, and no others."""
    client, other = register(http), register(http)
    tokens = [await http.app_token(owner) for owner in (other, client, client)]
    assert http.twitch.kill_app_tokens(client) == 2
    assert [http.twitch.is_live(token) for token in tokens] == [True, False, False]


# Validate


async def test_validate_takes_both_words_in_any_case(http: HTTP) -> None:
    """The answer names the user, after a rename by the new login. Anything else is no token."""
    _, pair = public(http)
    http.twitch.rename("alice", "alicia")
    for scheme in ("OAuth", "oauth", "Bearer", "BEARER"):
        answer = (await http.validate(pair.access_token, scheme)).json
        assert (answer["login"], answer["user_id"]) == ("alicia", "100000001")
    for scheme in ("", "Basic", pair.access_token):
        reply = await http.validate("" if scheme == pair.access_token else "abc", scheme)
        assert reply.message == (401, "missing authorization token")


async def test_validate_may_promise_more_than_the_answer_did(http: HTTP) -> None:
    """About four hours, and some token's validate shows more seconds left, never fewer."""
    client, _ = public(http)
    more = 0
    for _ in range(10):
        pair = http.twitch.issue(client, "alice")
        left = (await http.validate(pair.access_token)).json["expires_in"]
        assert isinstance(left, int)
        assert pair.expires_in is not None
        assert 13_199 <= pair.expires_in - 1 <= left <= 15_500
        more += left > pair.expires_in + 60
    assert more > 0


async def test_every_validation_is_on_record(http: HTTP) -> None:
    """The times of a token's validations are known, on the double's clock."""
    _, pair = public(http)
    for _ in range(2):
        await http.validate(pair.access_token)
        http.twitch.advance(3600)
    first, second = http.twitch.validations_of(pair.access_token)
    assert 3600 <= second - first < 3660
    assert http.twitch.counts.validations == 2


# The clock


async def test_tokens_expire_on_the_clock(http: HTTP) -> None:
    """A fixed lifetime is exact; each expired token that is presented counts once."""
    http.twitch.user_token_lifetime = 2.0
    client, pair = public(http)
    assert pair.expires_in == 2
    http.twitch.advance(1.5)
    assert (await http.validate(pair.access_token)).json["expires_in"] == 1
    http.twitch.advance(0.5)
    for _ in range(3):
        assert (await http.validate(pair.access_token)).message == (401, "invalid access token")
    assert (await http.helix(client, pair.access_token)).helix == (401, "Invalid OAuth token")
    assert http.twitch.counts.expiries == 1
    await http.refreshed(client, pair.refresh_token)


async def test_a_pair_that_has_expired_already(http: HTTP) -> None:
    """`issue_expired` and `expire_access` leave a good refresh token behind."""
    client, _ = public(http)
    pair = http.twitch.issue_expired(client, "alice")
    assert not http.twitch.is_live(pair.access_token)
    access, _ = await http.refreshed(client, pair.refresh_token)
    assert http.twitch.expire_access(access) == 1
    assert http.twitch.expire_access("alice", client) == 2
    assert not http.twitch.is_live(access)


# Revoke


async def test_revoke(http: HTTP) -> None:
    """200 and empty, then `Invalid token`; the refresh token survives, and is no token here."""
    client, pair = connected(http)
    for owner, token in ((client, pair.refresh_token), (register(http), pair.access_token)):
        assert (await http.revoke(owner, token)).message == (400, "Invalid token")
    reply = await http.revoke(client, pair.access_token)
    assert (reply.status, reply.text) == (200, "")
    assert (await http.validate(pair.access_token)).status == 401
    assert (await http.revoke(client, pair.access_token)).message == (400, "Invalid token")
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.counts.revocations == 1


# Transport


async def test_an_unknown_path_is_plain_text(http: HTTP) -> None:
    """404 is a line of text, not JSON; so is another method of a known path."""
    for method, path in (("GET", "oauth2/device"), ("POST", "oauth2/validate"), ("GET", "nothing")):
        reply = await http.send(method, f"{http.twitch.url}/{path}")
        assert (reply.status, reply.text) == (404, "404 page not found\n")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "a/b"])
async def test_a_body_that_cannot_be_read_has_no_parameters(http: HTTP, kind: str) -> None:
    """Garbage in a body is a refusal, not a crash of the double."""
    url = http.twitch.id_url + "token"
    reply = await http.send("POST", url, data=b"\xff{", headers={"Content-Type": kind})
    assert reply.message == (400, "missing grant type")


async def test_html_content_type(http: HTTP) -> None:
    """The identity service can be made to call its JSON text/html."""
    http.twitch.configure(identity_content_type="text/html")
    assert (await http.post("token")).headers["Content-Type"] == "text/html"


async def test_identity_rate_limit(http: HTTP) -> None:
    """More calls than allowed in a window draw an empty 429; the window moves on."""
    _, pair = public(http)
    http.twitch.configure(identity_limit=3, identity_window=60)
    assert [(await http.validate(pair.access_token)).status for _ in range(4)] == [200] * 3 + [429]
    assert http.twitch.counts.rate_limited == 1
    http.twitch.advance(60)
    assert (await http.validate(pair.access_token)).status == 200


async def test_secrets_in_a_query_are_flagged(http: HTTP) -> None:
    """The log has names and never values; secrets in a query string stand out."""
    client, pair = connected(http)
    url = http.twitch.id_url + "revoke"
    await http.send("POST", url, params={"client_id": client.client_id, "hint": pair.access_token})
    (leak,) = http.twitch.leaks
    assert (leak.path, leak.secrets_in_query) == ("/oauth2/revoke", ("hint",))
    (entry,) = http.twitch.requests
    assert (entry.method, entry.endpoint, entry.status) == ("POST", "revoke", 400)
    assert entry.parameters == ("client_id", "hint")
    assert not any(secret in repr(http.twitch.requests) for secret in http.twitch.secrets)
