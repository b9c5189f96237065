"""`sync()`, `flush()`, several flows on one store, and stores of the user's own."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import text_of, until, within
from tests.own_stores import OwnStore
from twitchvault import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from tests.environment import Environment


async def test_sync_and_flush_need_an_open_flow(env: Environment) -> None:
    """Before `authorize()` both say what to do; nothing to write is nothing to complain about."""
    flow = env.device()
    await flow.flush()
    with pytest.raises(StoreError, match=r"authorize\(\)"):
        await flow.sync()
    flow.add_token("1", "a", "r")
    with pytest.raises(StoreError, match=r"authorize\(\)"):
        await within(flow.flush())
    await flow.authorize()
    await flow.flush()
    await flow.sync()


class DeniedError(StoreUnavailable):
    """An error of the user's own; its constructor does not take a message."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} denies")
        self.host = host
        self.port = port


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("connect to db://user:hunter2@host"), "OSError"),
        (DeniedError("db1", 5432), "db1:5432 denies"),
    ],
)
async def test_flush_reports_and_keeps(env: Environment, error: Exception, text: str) -> None:
    """Each raises what failed: the store's own StoreError, else one without the driver's text."""
    store = OwnStore()
    async with env.device(store=store) as flow:
        flow.add_token("0", "a", "r")
        await flow.flush()
        store.broken = error
        flow.add_token("1", "a", "r")
        flow.remove_token("0")
        for _ in range(2):
            with pytest.raises(StoreError, match=text) as caught:
                await within(flow.flush())
            assert "hunter2" not in text_of(caught.value)
        assert set(flow.tokens) == {"1"}
        store.broken = None
        await flow.flush()
        assert await store.inner.get(env.key("1")) is not None
        # What stays of a user who was removed holds no token.
        left = await store.inner.get(env.key("0"))
        assert left is None or b'"a"' not in left.value


class FinishingStore(OwnStore):
    """A store whose puts go on when they are cancelled, until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """As the inner store, once it is let go."""
        while not self.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await self.go_on.wait()
        return await super().put(key, value, expect=expect)


async def test_a_put_that_cannot_be_cancelled_loses_nothing(
    env: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """`close()` leaves such a put behind; opened anew, the flow writes all there is, once."""
    store = FinishingStore()
    flow = env.device(store=store)
    await flow.authorize()
    flow.add_token("1", "a1", "r1")
    await until(lambda: store.calls["get"] > 1)
    flow.add_token("1", "a2", "r2")
    with pytest.raises(StoreUnavailable):
        await flow.close()
    await flow.authorize()
    store.go_on.set()
    await flow.flush()
    assert flow.get_token("1") == ("a2", "r2")
    await flow.close()
    gc.collect()
    assert "never retrieved" not in caplog.text
