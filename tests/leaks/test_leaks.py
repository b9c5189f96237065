"""No token, secret, code, key or password shows: not in logs, reprs, errors, frames or tasks.

Every test here ends with the fixture `witness`. It has listened to all loggers at their lowest
level, to asyncio's debug mode with every callback logged, and to all warnings; it was shown the
objects and errors below. None of that may hold a secret in any form, not even ten characters of
one. `test_witness` shows that it finds what is there.
"""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.environment import REDIRECT
from tests.http_servers import free_port, raw_server, sent_back, web_server
from twitchvault import App, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.environment import Environment

    from .witness import Witness


async def failing(witness: Witness, *calls: Awaitable[object]) -> None:
    """Each call raises an error of the documented kinds, which the witness is shown."""
    for call in calls:
        with pytest.raises((TwitchVaultError, TimeoutError, ValueError)) as caught:
            await call
        witness.catch(caught.value)


def see_app(witness: Witness, app: App) -> None:
    """Show the witness an app, and all that it shows of its users."""
    witness.see(app, app.http, app.application, app.events())
    witness.see(app.tokens_validity, app.users_scopes, app.damaged, app.needs_login)
    witness.hear("tokens", f"{app.tokens!r} {app.tokens}")
    for error in app.damaged.values():
        witness.catch(error)
    witness.tasks()


async def test_logins(witness: Witness, env: Environment) -> None:
    """By device code, by authorization code and with an id token; polled too fast, and refused."""
    client = env.twitch.register_client(public=True, fast_poll="slow_down")
    env.twitch.auto_approve(env.alice)
    async with env.device(client) as flow:
        late = await flow.request_device_code()
        await failing(
            witness, flow.wait_for_device_token(late.device_code, interval=0.01, timeout=0.01)
        )
        code = await flow.request_device_code({"chat:read"})
        token = await flow.get_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)
        witness.see(code, code.raw, token, token.raw, user, await user.validate())
        await failing(witness, flow.get_device_token(code.device_code))
        see_app(witness, flow)
    async with env.code() as web:
        url = web.get_authorization_url(REDIRECT, {"openid"}, "state", nonce="nonce")
        env.twitch.auto_consent(env.alice)
        query = await sent_back(url)
        assert query["state"] == "state"
        good = witness.secret(query["code"])
        token = await web.get_authorization_token(good, REDIRECT)
        witness.secret(token.raw["id_token"])
        await failing(witness, web.get_authorization_token(good, REDIRECT))
        await failing(witness, web.check_id_token(token, nonce="another"))
        user = await web.add_user(token.access_token, token.refresh_token)
        witness.see(token, token.raw, user, url, await web.check_id_token(token, nonce="nonce"))
        see_app(witness, web)


async def test_app_token(witness: Witness, env: Environment) -> None:
    """An app token: got, validated, renewed, and refused for a wrong secret."""
    async with env.code() as flow:
        application = flow.application
        assert application is not None
        witness.see(await flow.credentials_grant_flow(), await application.validate())
        env.twitch.kill_app_tokens(env.client)
        witness.see(await application.get_user(login="alice"), await application.refresh())
        see_app(witness, flow)
    wrong = witness.secret('a-wrong-secret/"&with-signs"')
    for url in ("memory://", "bad://"):
        options = env.arguments(client_secret=wrong, store=url)
        await failing(witness, authorized(options))
    foreign = witness.secret('app-token-"of-nobody"')
    await failing(witness, env.app(env.public).authorize(token=foreign))


async def authorized(options: dict[str, Any]) -> None:
    """Make an app and authorize it."""
    async with App(**options):
        pass


async def test_users(witness: Witness, env: Environment) -> None:
    """The life of a user: added, called for, refreshed, validated, revoked, removed."""
    async with env.device(env.public, maintain=True) as flow:
        stream = flow.events()
        pair = env.pair(env.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        witness.see(user, await user.get_user(), await user.refresh(), await user.validate())
        env.twitch.expire_access(env.alice)
        await user.get("users")
        await failing(
            witness,
            user.get("nothing/there"),
            user.post("users", json={"a": 1}),
            flow.validate_token(pair.access_token),
            flow.refresh_token(witness.secret("refresh-token/+of-nobody")),
            flow.revoke_token(witness.secret("access-token/+of-nobody")),
            flow.add_user(witness.secret("acc3ss/token&of-nobody"), None),
            flow.add_user(pair.access_token, witness.secret("r3fresh/token&of-nobody")),
        )
        odd = flow.add_token(
            "7", witness.secret("odd\\access/token+ö"), witness.secret("odd\\refresh/token+ö")
        )
        await failing(witness, odd.get("users"), odd.refresh(), odd.validate())
        await flow.flush()
        env.twitch.disconnect(env.public, env.alice)
        await failing(witness, user.get("users"), user.refresh())
        see_app(witness, flow)
        witness.see(await anext(stream), await anext(stream))
        fresh = env.pair(env.public)
        await flow.add_user(fresh.access_token, fresh.refresh_token)
        await flow.revoke_token(fresh.access_token)
        flow.remove_token("7")
        await flow.flush()
        await failing(witness, user.get("users"))
    await failing(witness, user.get("users"), flow.add_user(pair.access_token, None))


BODIES: list[tuple[int, str]] = [
    (200, '{"access_token": "'),
    (200, '{"access_token": 1, "refresh_token": ["{0}"], "client_id": {"a": "{0}"}}'),
    (200, '{"access_token": "{0}\\ud800", "refresh_token": "{0}\\ud800", "client_id": "{0}"}'),
    (200, '["{0}"]'),
    (200, '{"access_token": "{0}" "refresh_token": "{0}"}'),
    (400, '{"status": 400, "message": "what is {0}?"}'),
    (400, '{"error": "invalid", "error_description": "of {0}"}'),
    (401, '{"status": 401, "message": "{0}"}'),
    (403, '{"status": 403, "message": "{0}"}'),
    (404, "404 page not found: {0}"),
    (500, '{"message": "access_token={0}"}'),
    (503, "<html><body>{0}</body></html>"),
    (429, ""),
]
"""What goes wrong with an answer; `{0}` are the secrets that it echoes."""


@pytest.mark.parametrize(("status", "body"), BODIES, ids=range(len(BODIES)))
async def test_bad_answers(witness: Witness, env: Environment, status: int, body: str) -> None:
    """A service that echoes all that it was sent, in every form, in bad answers of every kind."""
    pair, dead = env.pair(), env.pair(user=env.bob, expired=True)
    code = witness.secret("an-authorization-code/+to-be-echoed")
    async with env.code(lease_ttl=1) as flow, env.device(lease_ttl=1) as device:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        secret = str(env.client.client_secret)
        device_code = (await device.request_device_code()).device_code
        calls: list[tuple[Callable[[], Awaitable[object]], list[str]]] = [
            (lambda: flow.get_authorization_token(code, REDIRECT), [secret, code]),
            (lambda: flow.refresh_token(pair.refresh_token), [secret, pair.refresh_token]),
            (user.refresh, [secret, pair.refresh_token]),
            (lambda: flow.add_user(dead.access_token, None), [dead.access_token]),
            (lambda: flow.validate_token(pair.access_token), [pair.access_token]),
            (user.validate, [pair.access_token]),
            (lambda: user.get("users"), [pair.access_token]),
            (lambda: flow.revoke_token(dead.access_token), [dead.access_token]),
            (lambda: device.get_device_token(device_code), [device_code]),
            (flow.credentials_grant_flow, [secret]),
        ]
        for call, sent in calls:
            echo = " ".join([*sent, *map(quote, sent)])
            inside = json.dumps(echo)[1:-1] if body[:1] in {"{", "["} else echo
            headers = {"X-Echo": " ".join(map(quote, sent))}
            for endpoint in ("token", "validate", "revoke", "helix"):
                env.twitch.fail(
                    endpoint,
                    status=status,
                    body=body.replace("{0}", inside),
                    headers=headers,
                    times=None,
                )
            try:
                await call()
            except TwitchVaultError as error:
                witness.catch(error)
            env.twitch.clear_faults()
        see_app(witness, flow)


BIG = b"x" * 10_000_000


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that closes every connection at once."""
    writer.close()


async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that sends back what it got, which is no HTTP answer."""
    writer.write(await reader.read(10_000))
    writer.close()


async def big(_: web.Request) -> web.Response:
    """An answer of 10 MB."""
    return web.Response(body=BIG)


async def test_no_answers(witness: Witness, env: Environment) -> None:
    """Refused, hung up on, garbled, no TLS, too much, through a proxy that is not there."""
    proxied = functools.partial(ask_all, proxy="http://user:the-pr0xy-password@127.0.0.1:1")
    witness.secret("the-pr0xy-password")
    async with raw_server(hang_up) as one, raw_server(garble) as two, web_server(big) as three:
        roots = [one.partition("/path")[0], two.partition("/path")[0], three.rstrip("/")]
        await asyncio.gather(
            *(ask_all(witness, env, root) for root in roots),
            ask_all(witness, env, f"http://127.0.0.1:{free_port()}"),
            ask_all(witness, env, roots[0].replace("http", "https")),
            proxied(witness, env, "http://nowhere.invalid"),
        )


async def ask_all(witness: Witness, env: Environment, root: str, **options: object) -> None:
    """Ask a service that cannot answer for everything; the pair stays."""
    arguments = env.arguments(store="memory://", id_url=f"{root}/oauth2", api_url=f"{root}/helix")
    pair = env.pair()
    arguments |= {"lease_ttl": 1, **options}
    async with env.device(env.public, **arguments | {"client_secret": None}) as flow:
        user = flow.add_token("1", pair.access_token, pair.refresh_token)
        await failing(
            witness,
            flow.request_device_code(),
            flow.get_device_token(witness.secret("dev1ce-code/+of-nobody")),
            flow.add_user(pair.access_token, pair.refresh_token),
            flow.refresh_token(pair.refresh_token),
            flow.revoke_token(pair.access_token),
            user.get("users"),
            user.refresh(),
        )
        assert flow.tokens["1"] == (pair.access_token, pair.refresh_token)
        see_app(witness, flow)
    await failing(witness, authorized(arguments))


async def test_a_caller_keeps_its_own_context() -> None:
    """What is cut off is ours: a caller that was handling an error still sees that one."""
    own = KeyError("the caller's")

    async def handle() -> None:
        try:
            raise own
        except KeyError:
            await App("client-id").validate_token("")

    with pytest.raises(ValueError, match="'token'") as caught:
        await handle()
    assert caught.value.__context__ is own
    assert not caught.value.__suppress_context__
