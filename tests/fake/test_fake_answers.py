"""Token answers, validate, revoke, app tokens: shapes, lifetimes, and the exact refusals."""

from __future__ import annotations

import pytest

from twitchvault.testing import FakeTwitch

from .http import HTTP, connected, public, register


async def app_token(http: HTTP, **switches: object) -> dict[str, object]:
    """A fresh client's app token answer."""
    client = register(http, public=False, **switches)
    reply = await http.token(
        client_id=client.client_id,
        client_secret=str(client.client_secret),
        grant_type="client_credentials",
    )
    assert reply.status == 200
    return reply.json


# Token answers


async def test_user_token_answer(http: HTTP) -> None:
    """Five keys, a list of scopes, a lower-case token type, about four hours."""
    client, pair = public(http)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert set(answer) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert (answer["scope"], answer["token_type"]) == (["chat:read"], "bearer")
    assert isinstance(answer["expires_in"], int)
    assert 13_200 <= answer["expires_in"] <= 15_500


@pytest.mark.parametrize(
    ("switches", "scopes", "expected"),
    [
        ({}, [], None),
        ({"scope_shape": "string"}, ["chat:read", "chat:edit"], "chat:read chat:edit"),
        ({"scope_shape": "string"}, [], ""),
        ({"scope_shape": "blank"}, [], [""]),
        ({"scope_shape": "blank"}, ["chat:read"], ["chat:read"]),
    ],
)
async def test_scope_shapes(
    http: HTTP, switches: dict[str, object], scopes: list[str], expected: object
) -> None:
    """The key is absent without scopes; the switches give the other shapes seen."""
    client = register(http, public=True, **switches)
    http.twitch.add_user("alice")
    pair = http.twitch.issue(client, "alice", scopes)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert answer.get("scope") == expected
    assert ("scope" in answer) is (expected is not None)


async def test_missing_and_unknown_keys(http: HTTP) -> None:
    """Keys can be left out and unknown ones put in."""
    client, pair = public(http, omit_expires_in=True, omit_token_type=True, extra_keys=True)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert not {"expires_in", "token_type"} & set(answer)
    assert {"session", "nonce"} <= set(answer)


async def test_legacy_client(http: HTTP) -> None:
    """A legacy client's tokens never expire: no `expires_in`, and 0 from validate."""
    client, pair = public(http, legacy=True)
    answer = (await http.refresh(client, pair.refresh_token)).json
    assert "expires_in" not in answer
    http.twitch.advance(20 * 86_400)
    assert (await http.validate(str(answer["access_token"]))).json["expires_in"] == 0


# App tokens


async def test_app_token_answer(http: HTTP) -> None:
    """An app token has no refresh token and no scope, and lives 58 to 60 days."""
    answer = await app_token(http)
    assert set(answer) == {"access_token", "expires_in", "token_type"}
    assert isinstance(answer["expires_in"], int)
    assert 58 * 86_400 <= answer["expires_in"] <= 60 * 86_400
    assert http.twitch.counts.app_tokens == 1


async def test_padded_app_token_answer(http: HTTP) -> None:
    """The older shape carries an empty refresh token and an empty scope list."""
    answer = await app_token(http, app_answer="padded")
    assert (answer["refresh_token"], answer["scope"]) == ("", [])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"client_id": "bogus"}, (400, "invalid client")),
        ({"client_secret": "wrong"}, (403, "invalid client secret")),
        ({"client_secret": ""}, (400, "missing client secret")),
    ],
)
async def test_app_token_refusals(
    http: HTTP, change: dict[str, str], expected: tuple[int, str]
) -> None:
    """A wrong id is 400, a wrong secret 403."""
    client = http.twitch.register_client()
    form = {"client_id": client.client_id, "client_secret": str(client.client_secret)} | change
    assert (await http.token(grant_type="client_credentials", **form)).message == expected


async def test_a_public_client_gets_no_app_token(http: HTTP) -> None:
    """Client credentials need a secret, and a public client has none."""
    client = http.twitch.register_client(public=True)
    form = {"client_id": client.client_id, "grant_type": "client_credentials"}
    assert (await http.token(**form)).message == (400, "missing client secret")
    reply = await http.token(**form, client_secret="guess")
    assert reply.message == (403, "invalid client secret")


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, {"login": None, "user_id": None, "scopes": []}),
        ({"app_scopes": "null"}, {"login": None, "user_id": None, "scopes": None}),
        ({"app_subject": "absent"}, {"scopes": []}),
    ],
)
async def test_validated_app_token(
    http: HTTP, switches: dict[str, object], expected: dict[str, object]
) -> None:
    """Login and user id are null or absent, scopes a list or null."""
    token = str((await app_token(http, **switches))["access_token"])
    answer = (await http.validate(token)).json
    assert set(answer) == {"client_id", "expires_in", *expected}
    assert {name: answer[name] for name in expected} == expected


async def test_all_app_tokens_killed(http: HTTP) -> None:
    """A command kills all app tokens of a client."""
    token = str((await app_token(http))["access_token"])
    client_id = str((await http.validate(token)).json["client_id"])
    assert http.twitch.kill_app_tokens(client_id) == 1
    assert (await http.validate(token)).message == (401, "invalid access token")


async def test_the_token_limit_may_cover_app_tokens(http: HTTP) -> None:
    """By default app tokens are not counted; the switch kills the oldest."""
    client = register(http, public=False, token_limit=1)
    form = {"client_id": client.client_id, "client_secret": str(client.client_secret)}
    tokens = []
    for limited in (False, False, True):
        http.twitch.switch(client, limit_app_tokens=limited)
        answer = (await http.token(grant_type="client_credentials", **form)).json
        tokens.append(str(answer["access_token"]))
    assert [http.twitch.is_live(token) for token in tokens] == [False, False, True]


# Validate


@pytest.mark.parametrize("scheme", ["OAuth", "oauth", "Bearer", "BEARER"])
async def test_validate_takes_both_words_in_any_case(http: HTTP, scheme: str) -> None:
    """The answer names client, user and scopes."""
    client, pair = public(http)
    answer = (await http.validate(pair.access_token, scheme)).json
    assert answer.pop("expires_in")
    assert answer == {
        "client_id": client.client_id,
        "login": "alice",
        "user_id": "100000001",
        "scopes": ["chat:read"],
    }


async def test_validate_scopes_are_null_without_any(http: HTTP) -> None:
    """A user who granted nothing has null scopes."""
    client, _ = public(http)
    pair = http.twitch.issue(client, "alice")
    assert (await http.validate(pair.access_token)).json["scopes"] is None


@pytest.mark.parametrize("header", [None, "", "OAuth", "OAuth ", "Basic abc", "{token}"])
async def test_validate_without_usable_header(http: HTTP, header: str | None) -> None:
    """No header, no token, another scheme word or none: all the same text."""
    _, pair = public(http)
    value = None if header is None else header.format(token=pair.access_token)
    headers = {} if value is None else {"Authorization": value}
    reply = await http.send("GET", http.twitch.id_url + "validate", headers=headers)
    assert reply.message == (401, "missing authorization token")


async def test_validate_may_promise_more_than_the_answer_did(http: HTTP) -> None:
    """Some token's validate shows more seconds left than its answer announced, never fewer."""
    client, _ = public(http)
    more = 0
    for _ in range(10):
        pair = http.twitch.issue(client, "alice")
        left = (await http.validate(pair.access_token)).json["expires_in"]
        assert isinstance(left, int)
        assert pair.expires_in is not None
        assert pair.expires_in - 1 <= left <= 15_500
        more += left > pair.expires_in + 60
    assert more > 0


async def test_a_renamed_user_keeps_the_id(http: HTTP) -> None:
    """After a rename validate gives the new login and the same id."""
    _, pair = public(http)
    http.twitch.rename("alice", "alicia")
    answer = (await http.validate(pair.access_token)).json
    assert (answer["login"], answer["user_id"]) == ("alicia", "100000001")


async def test_every_validation_is_on_record(http: HTTP) -> None:
    """The times of a token's validations are kept, on the double's clock."""
    _, pair = public(http)
    await http.validate(pair.access_token)
    http.twitch.advance(3600)
    await http.validate(pair.access_token)
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


async def test_the_same_seed_gives_the_same_tokens() -> None:
    """A seed makes the double repeat itself."""

    def token(seed: int | None) -> str:
        twitch = FakeTwitch(seed=seed)
        return twitch.issue(twitch.register_client(), twitch.add_user("a")).access_token

    assert token(3) == token(3)
    assert token(3) != token(4)
    assert token(None) != token(None)


# Revoke


async def test_revoke(http: HTTP) -> None:
    """200 and empty, then `Invalid token`; the refresh token survives."""
    client, pair = public(http)
    url = http.twitch.id_url + "revoke"
    form = {"client_id": client.client_id, "token": pair.access_token}
    reply = await http.send("POST", url, data=form)
    assert (reply.status, reply.text) == (200, "")
    assert (await http.validate(pair.access_token)).status == 401
    assert (await http.send("POST", url, data=form)).message == (400, "Invalid token")
    await http.refreshed(client, pair.refresh_token)
    assert http.twitch.counts.revocations == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"client_id": "nobody"}, (404, "client does not exist")),
        ({"token": "garbage"}, (400, "Invalid token")),
        ({"token": ""}, (400, "missing oauth token")),
    ],
)
async def test_revoke_refusals(
    http: HTTP, change: dict[str, str], expected: tuple[int, str]
) -> None:
    """An unknown client is 404, a dead token 400; nothing is revoked."""
    client, pair = connected(http)
    form = {"client_id": client.client_id, "token": pair.access_token} | change
    assert (await http.send("POST", http.twitch.id_url + "revoke", data=form)).message == expected
    assert http.twitch.is_live(pair.access_token)


async def test_revoke_takes_no_refresh_token_and_no_foreign_token(http: HTTP) -> None:
    """Only the client's own access tokens are tokens here."""
    client, pair = connected(http)
    other = http.twitch.register_client()
    for owner, token in ((client, pair.refresh_token), (other, pair.access_token)):
        form = {"client_id": owner.client_id, "token": token}
        reply = await http.send("POST", http.twitch.id_url + "revoke", data=form)
        assert reply.message == (400, "Invalid token")


# Transport


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "oauth2/token"),
        ("GET", "oauth2/device"),
        ("POST", "oauth2/validate"),
        ("GET", "oauth2/nothing"),
        ("GET", ""),
    ],
)
async def test_what_is_not_there_is_plain_text(http: HTTP, method: str, path: str) -> None:
    """404 is a line of text, not JSON; GET on the token endpoint too."""
    reply = await http.send(method, f"{http.twitch.url}/{path}")
    assert (reply.status, reply.text) == (404, "404 page not found\n")
    assert reply.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "a/b"])
async def test_a_body_that_cannot_be_read_has_no_parameters(http: HTTP, kind: str) -> None:
    """Garbage in a body is a refusal, not a crash of the double."""
    url = http.twitch.id_url + "token"
    reply = await http.send("POST", url, data=b"\xff{", headers={"Content-Type": kind})
    assert reply.message == (400, "missing grant type")


async def test_html_content_type(http: HTTP) -> None:
    """The identity service can be made to call its JSON text/html."""
    http.twitch.configure(identity_content_type="text/html")
    reply = await http.token()
    assert reply.headers["Content-Type"] == "text/html"
    assert reply.json == {"status": 400, "message": "missing grant type"}


async def test_identity_rate_limit(http: HTTP) -> None:
    """More calls than allowed in a window draw an empty 429; the window moves on."""
    _, pair = public(http)
    http.twitch.configure(identity_limit=3, identity_window=60)
    assert [(await http.validate(pair.access_token)).status for _ in range(4)] == [200] * 3 + [429]
    assert (await http.validate(pair.access_token)).text == ""
    assert http.twitch.counts.rate_limited == 2
    http.twitch.advance(60)
    assert (await http.validate(pair.access_token)).status == 200


async def test_secrets_in_a_query_are_flagged(http: HTTP) -> None:
    """The log has names and never values; secrets in a query string stand out."""
    client, pair = connected(http)
    url = http.twitch.id_url + "revoke"
    await http.send("POST", url, params={"client_id": client.client_id, "hint": pair.access_token})
    (leak,) = http.twitch.leaks
    assert (leak.path, leak.parameter) == ("/oauth2/revoke", "hint")
    (entry,) = http.twitch.requests
    assert (entry.method, entry.endpoint, entry.status) == ("POST", "revoke", 400)
    assert entry.parameters == ("client_id", "hint")
    assert not any(secret in repr(http.twitch.requests) for secret in http.twitch.secrets)
