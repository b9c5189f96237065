"""No token, secret, code, key or password shows: not in logs, reprs, errors, frames or tasks.

Every test here ends with the fixture `witness`: it has listened to all loggers at their lowest
level, asyncio's debug mode with every callback told, and all warnings; it was shown the objects and
errors below; and none of that may hold any secret, in no form, not even ten characters of one.
What it looks at, and that it finds what is there, is for `test_witness`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.http_servers import free_port, raw_server, web_server
from tests.world import REDIRECT
from twitchvault import (
    App,
    AppAPI,
    AuthorizationCodeGrantFlow,
    DeviceCodeFlow,
    TwitchVaultError,
    UserAPI,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.world import World

    from .witness import Witness


async def failing(witness: Witness, *calls: Awaitable[object]) -> None:
    """Each call raises an error of the documented kinds, at which the witness looks."""
    for call in calls:
        with pytest.raises((TwitchVaultError, TimeoutError, ValueError)) as caught:
            await call
        witness.catch(caught.value)


def look(witness: Witness, app: App) -> None:
    """Look at an app, and at all that it shows of its users."""
    witness.see(app, app.http, app.application, app.events())
    witness.see(app.tokens_validity, app.users_scopes, app.damaged, app.needs_login)
    witness.hear("tokens", f"{app.tokens!r} {app.tokens}")
    for error in app.damaged.values():
        witness.catch(error)
    witness.tasks()


async def test_device_code(witness: Witness, world: World) -> None:
    """Sign in by device code: pending, too fast, denied, expired, never approved, and approved."""
    client = world.twitch.register_client(
        public=True, fast_poll="slow_down", denied_device="access denied by the user"
    )
    async with world.device(client) as flow:
        denied = await flow.request_device_code({"chat:read"})
        await failing(witness, flow.get_device_token(denied.device_code))
        await failing(witness, flow.get_device_token(denied.device_code))
        world.twitch.deny(denied.user_code)
        world.twitch.advance(100)
        await failing(witness, flow.get_device_token(denied.device_code))
        late = await flow.request_device_code()
        await failing(
            witness, flow.wait_for_device_token(late.device_code, interval=0.01, timeout=0.01)
        )
        world.twitch.advance(100_000)
        await failing(witness, flow.get_device_token(late.device_code))
        world.twitch.auto_approve(world.alice)
        code = await flow.request_device_code({"chat:read"})
        token = await flow.get_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)
        witness.see(code, code.raw, token, token.raw, user, await user.validate())
        await failing(witness, flow.get_device_token(code.device_code))
        look(witness, flow)


async def test_authorization_code(witness: Witness, world: World) -> None:
    """Sign in by authorization code: refused, for another address, and good."""
    async with world.code() as flow:
        code = witness.secret("an-authorization-code/+that-nobody-gave")
        await failing(witness, flow.get_authorization_token(code, REDIRECT))
        good = await authorization_code(world, flow.get_authorization_url(REDIRECT, state="state"))
        witness.secret(good)
        await failing(witness, flow.get_authorization_token(good, "http://elsewhere/"))
        good = await authorization_code(world, flow.get_authorization_url(REDIRECT, state="state"))
        token = await flow.get_authorization_token(witness.secret(good), REDIRECT)
        await failing(witness, flow.get_authorization_token(good, REDIRECT))
        user = await flow.add_user(token.access_token, token.refresh_token)
        witness.see(token, token.raw, user, flow.get_authorization_url(REDIRECT))
        look(witness, flow)


async def authorization_code(world: World, url: str) -> str:
    """What the user's browser brings back from Twitch's page."""
    world.twitch.auto_consent(world.alice)
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(url, allow_redirects=False) as page,
    ):
        location = page.headers["Location"]
    assert "state=state" in location
    return URL(location).query["code"]


async def test_app_token(witness: Witness, world: World) -> None:
    """An app token: got, validated, renewed, and refused for a wrong secret."""
    async with world.code() as flow:
        application = flow.application
        assert application is not None
        witness.see(await flow.credentials_grant_flow(), await application.validate())
        world.twitch.kill_app_tokens(world.client)
        witness.see(await application.get_user(login="alice"), await application.refresh())
        look(witness, flow)
    wrong = witness.secret('a-wrong-secret/"&with-signs"')
    for url in ("memory://", "bad://"):
        options = world.arguments(client_secret=wrong, store=url)
        await failing(witness, authorized(options))
    foreign = witness.secret('app-token-"of-nobody"')
    await failing(witness, world.app(world.public).authorize(token=foreign))


async def authorized(options: dict[str, Any]) -> None:
    """Make an app and authorize it."""
    async with App(**options):
        pass


async def test_users(witness: Witness, world: World) -> None:
    """A user's whole life: added, called for, refreshed, validated, revoked, removed."""
    async with world.device(world.public, maintain=True) as flow:
        stream = flow.events()
        pair = world.pair(world.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        witness.see(user, await user.get_user(), await user.refresh(), await user.validate())
        world.twitch.expire_access(world.alice)
        await user.get("users")
        await failing(
            witness,
            user.get("nothing/there"),
            user.post("users", json={"a": 1}),
            user.get("../elsewhere"),
            flow.validate_token(pair.access_token),
            flow.refresh_token(witness.secret("refresh-token/+of-nobody")),
            flow.revoke_token(witness.secret("access-token/+of-nobody")),
            flow.validate_token(witness.secret("token with a line\nbreak")),
            flow.add_user(witness.secret("access-token\ud800surrogate"), None),
            flow.add_user(witness.secret("acc3ss/token&of-nobody"), None),
            flow.add_user(pair.access_token, witness.secret("r3fresh/token&of-nobody")),
        )
        odd = flow.add_token(
            "7", witness.secret('odd"access/token+ö'), witness.secret('odd"refresh/token+ö')
        )
        await failing(witness, odd.get("users"), odd.refresh(), odd.validate())
        with pytest.raises(TypeError, match="user_id") as caught:
            flow.add_token("", pair.access_token, pair.refresh_token)
        witness.catch(caught.value)
        await flow.flush()
        world.twitch.disconnect(world.public, world.alice)
        await failing(witness, user.get("users"), user.refresh())
        look(witness, flow)
        witness.see(await anext(stream), await anext(stream))
        fresh = world.pair(world.public)
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
async def test_bad_answers(witness: Witness, world: World, status: int, body: str) -> None:
    """A service that echoes all that it was sent, in every form, in bad answers of every kind."""
    pair, dead = world.pair(), world.pair(user=world.bob, expired=True)
    code = witness.secret("an-authorization-code/+to-be-echoed")
    async with world.code(lease_ttl=1) as flow, world.device(lease_ttl=1) as device:
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        secret = str(world.client.client_secret)
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
                world.twitch.fail(
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
            world.twitch.clear_faults()
        look(witness, flow)


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


async def test_no_answers(witness: Witness, world: World) -> None:
    """Refused, hung up on, garbled, no TLS, too much, through a proxy that is not there."""
    proxied = functools.partial(ask_all, proxy="http://user:the-pr0xy-password@127.0.0.1:1")
    witness.secret("the-pr0xy-password")
    async with raw_server(hang_up) as one, raw_server(garble) as two, web_server(big) as three:
        roots = [one.partition("/path")[0], two.partition("/path")[0], three.rstrip("/")]
        await asyncio.gather(
            *(ask_all(witness, world, root) for root in roots),
            ask_all(witness, world, f"http://127.0.0.1:{free_port()}"),
            ask_all(witness, world, roots[0].replace("http", "https")),
            proxied(witness, world, "http://nowhere.invalid"),
        )


async def ask_all(witness: Witness, world: World, root: str, **options: object) -> None:
    """Ask a service that cannot answer for everything; the pair stays."""
    arguments = world.arguments(store="memory://", id_url=f"{root}/oauth2", api_url=f"{root}/helix")
    pair = world.pair()
    arguments |= {"lease_ttl": 1, **options}
    async with world.device(world.public, **arguments | {"client_secret": None}) as flow:
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
        look(witness, flow)
    await failing(witness, authorized(arguments))


THROUGH_REQUEST = {"get", "post", "put", "patch", "delete", "get_user"}


@pytest.mark.parametrize("kind", [App, DeviceCodeFlow, AuthorizationCodeGrantFlow, UserAPI, AppAPI])
def test_no_public_coroutine_is_forgotten(kind: type) -> None:
    """Errors leave all coroutines of the public classes without frames."""
    methods = {name: getattr(kind, name) for name in dir(kind) if name[0] != "_"}
    coroutines = {name for name, each in methods.items() if inspect.iscoroutinefunction(each)}
    assert len(coroutines) > 5
    scrubbed = {name for name in coroutines if hasattr(methods[name], "__wrapped__")}
    assert coroutines - scrubbed <= THROUGH_REQUEST


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
