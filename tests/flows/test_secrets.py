"""No token leaks: not into logs, reprs, messages, causes, URLs, or anything a debugger prints."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from twitchvault import AuthFailure, TwitchVaultError

from .own_stores import DictStore
from .world import GARBAGE, REDIRECT, said, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .world import World


async def _a_whole_life(world: World) -> list[object]:
    shown: list[object] = []
    world.twitch.auto_approve(world.alice)
    async with world.device(world.public, maintain=True) as flow:
        code = await flow.request_device_code({"chat:read"})
        token = await flow.get_device_token(code.device_code)
        stream = flow.events()
        user = await flow.add_user(token.access_token, token.refresh_token)
        shown += [code, token, token.raw, code.raw, user, await anext(stream)]
        shown += [await user.validate(), await user.refresh(), await user.get_user()]
        world.twitch.expire_access(user.token)
        await user.get("users")
        await world.place.write(world.key(world.bob, world.public), GARBAGE)
        shown += [dict(flow.damaged), flow, flow.http, flow.tokens, stream]
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure) as caught:
            await user.get("users")
        shown.append(said(caught.value))
        await flow.revoke_token(world.pair(world.public).access_token)
    async with world.code() as web:
        shown += [await web.credentials_grant_flow(), web.application]
        shown.append(web.get_authorization_url(REDIRECT, state="s"))
    return shown


async def test_a_whole_life_at_debug_level(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Through all flows with logging at DEBUG, asyncio's debug mode on: no secret anywhere."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    shown = await within(_a_whole_life(world), 20)
    text = caplog.text + "".join(f"{thing!r}\n{thing!s}\n" for thing in shown)
    text += "".join(str(vars(record)) for record in caplog.records)
    leaked = [secret for secret in world.twitch.secrets if secret in text]
    assert leaked == []
    assert world.twitch.leaks == ()


async def test_errors_show_no_secret(world: World) -> None:
    """Twitch echoes all it was sent; each call's exception cuts out what that call has sent."""
    secret = str(world.client.client_secret)
    pair, dead = world.pair(), world.pair(user=world.bob, expired=True)
    async with world.code(lease_ttl=0.4) as flow, world.device(lease_ttl=0.4) as device:
        await flow.add_user(pair.access_token, pair.refresh_token)
        code = (await device.request_device_code()).device_code
        echo = [secret, code, "the-code", pair.access_token, pair.refresh_token]
        echo += [dead.access_token, dead.refresh_token]
        calls: list[tuple[Callable[[], Awaitable[object]], list[str]]] = [
            (lambda: flow.get_authorization_token("the-code", REDIRECT), [secret, "the-code"]),
            (lambda: flow.refresh_token(pair.refresh_token), [secret, pair.refresh_token]),
            (lambda: flow.add_user(dead.access_token, dead.refresh_token), [dead.access_token]),
            (lambda: flow.validate_token(pair.access_token), [pair.access_token]),
            (lambda: flow.revoke_token(pair.access_token), [pair.access_token]),
            (lambda: device.get_device_token(code), [code]),
            (flow.credentials_grant_flow, [secret]),
        ]
        for status in (400, 403, 500, 200, 401):
            body = {"status": status, "message": " ".join(echo)}
            for endpoint in ("token", "validate", "revoke"):
                world.twitch.fail(endpoint, status=status, body=body, times=None)
            for number, (call, own) in enumerate(calls):
                try:
                    await within(call())
                except TwitchVaultError as error:
                    shown = [each for each in own if each in said(error)]
                    assert shown == [], f"call {number} at {status}"
            world.twitch.clear_faults()


async def test_a_failing_store_shows_no_secret(
    small: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver whose error quotes what it was given: neither error nor log repeats it."""
    caplog.set_level(logging.DEBUG)
    store = DictStore()
    async with small.device(store=store) as flow:
        pair = small.pair()
        store.broken = ValueError(f"cannot write {pair.access_token} {pair.refresh_token}")
        flow.add_token("1", pair.access_token, pair.refresh_token)
        with pytest.raises(TwitchVaultError) as caught:
            await within(flow.flush())
        text = said(caught.value) + caplog.text
        assert not any(secret in text for secret in small.twitch.secrets)
        store.broken = None
