"""No rotated token is lost, and none sent twice, by what goes wrong around an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.environment import REFRESH, Environment, within
from tests.own_stores import OwnStore
from twitchvault import TwitchVaultError

if TYPE_CHECKING:
    from types import SimpleNamespace


class _OddTrace:
    """A tracing library that fails when it is told that a request has ended, if it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.config = aiohttp.TraceConfig()
        self.config.on_request_end.append(self._ended)

    async def _ended(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestEndParams,
    ) -> None:
        if self.armed and params.url.path.endswith("/token"):
            self.armed = False
            raise KeyError("span")


async def test_a_trace_that_fails(env: Environment) -> None:
    """The token may be spent by then: the old access token is asked, and nothing is sent twice."""
    trace = _OddTrace()
    async with env.app(http_trace=trace.config) as app:
        user = await env.own_pair(app)
        await user.validate()
        trace.armed = True
        with pytest.raises(TwitchVaultError):
            await within(user.refresh())
        with pytest.raises(TwitchVaultError):
            await within(user.refresh())
    assert env.twitch.counts.replays == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TypeError("odd")])
async def test_a_lease_that_cannot_be_renewed(env: Environment, error: BaseException) -> None:
    """Whatever the store raises while the answer is awaited, the answer is read and written."""
    store = OwnStore(env.storage.store())
    async with env.app(store=store, lease_ttl=1) as app:
        user = await env.own_pair(app)
        gate = env.twitch.hold(REFRESH, when="after")
        asked = asyncio.ensure_future(user.refresh())
        await gate.reached()
        failed = asyncio.Event()

        async def fail_once(operation: str, _key: str) -> None:
            if operation == "put" and not failed.is_set():
                failed.set()
                raise error

        store.before = fail_once
        await within(failed.wait())
        gate.release()
        await within(asked)
    await env.expect(exchanges=2)
