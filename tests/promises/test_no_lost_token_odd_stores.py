"""No rotated token is lost in a store that behaves as no store should."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.environment import Environment, until, within
from tests.own_stores import OwnStore, WatchedStore
from twitchvault import CorruptRecord, Entry, MemoryStore, StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path


class _Once:
    """A hook that raises once at this operation."""

    def __init__(self, operation: str, error: BaseException) -> None:
        self.operation = operation
        self.error: BaseException | None = error

    async def __call__(self, operation: str, _key: str) -> None:
        if operation == self.operation and self.error is not None:
            error, self.error = self.error, None
            raise error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TypeError("odd"), RuntimeError("odd")])
async def test_whatever_a_write_raises(env: Environment, error: BaseException) -> None:
    """The new pair is written once more, whatever the first attempt raised; `flush()` ends."""
    store = OwnStore(env.storage.store())
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        gate = env.twitch.hold("token", when="after")
        asked = asyncio.ensure_future(user.refresh())
        await gate.reached()
        store.before = _Once("put", error)
        gate.release()
        await within(asked)
        await within(app.flush())
    await env.expect(exchanges=2)


@pytest.mark.parametrize("kind", [OwnStore, WatchedStore])
async def test_a_scan_that_is_cancelled_from_within(env: Environment, kind: type[OwnStore]) -> None:
    """The views go on showing what others write."""
    store = kind(env.storage.store())
    async with env.app(store=store) as app, env.app() as other:
        store.before = _Once("scan", asyncio.CancelledError())
        await env.own_pair(other)
        await until(lambda: len(app.tokens) > 0)
        await within(app.sync())


class _Wrong(MemoryStore):
    """Answers with something that no store may answer."""

    answer: object = None

    async def get(self, key: str) -> Entry | None:
        entry = await super().get(key)
        if self.answer is None or entry is None:
            return entry
        return self.answer  # type: ignore[return-value]


WRONG: Any = ["text", ("key", 1, b"{}"), Entry("key", cast("Any", "1"), b"{}")]
WRONG += [Entry("key", 1, cast("Any", memoryview(b"")))]


@pytest.mark.parametrize("answer", WRONG)
async def test_an_answer_of_a_wrong_type(env: Environment, answer: object) -> None:
    """The error names the store's method and what it must return."""
    store = _Wrong()
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        store.answer = answer
        with pytest.raises(StoreUnavailable, match=r"_Wrong\.get\(\) must return an Entry"):
            await within(user.refresh())
        store.answer = None


async def test_a_file_that_is_new_after_close(env: Environment, tmp_path: Path) -> None:
    """Opened again on a fresh file, a flow writes back what it holds, and shows new logins."""
    app = env.app(store=f"sqlite:///{tmp_path / 'tokens.db'}")
    async with app:
        user = await env.own_pair(app)
        await within(user.refresh())
        pair = app.get_token(user.user_id)
    for name in await asyncio.to_thread(os.listdir, tmp_path):
        await asyncio.to_thread(os.remove, tmp_path / name)
    async with app, env.app(store=f"sqlite:///{tmp_path / 'tokens.db'}") as other:
        assert app.get_token(user.user_id) == pair
        await until(lambda: other.get_token(user.user_id) == pair)
        new = env.pair(user=env.new_user())
        added = await app.add_user(new.access_token, new.refresh_token)
        await added.get_user()
        await until(lambda: added.user_id in other.tokens)


async def test_an_error_of_the_whole_store(env: Environment) -> None:
    """Who holds a pair keeps it while it cannot be read, and writes it back once it is gone."""
    storage = env.storage.store()
    store = OwnStore(storage)
    async with env.app(store=store) as app:
        user = await env.own_pair(app)
        pair = app.get_token(user.user_id)
        store.before = _Once("get", CorruptRecord("the server's disk is odd"))
        with pytest.raises(CorruptRecord):
            await within(user.refresh())
        assert user.user_id in app.damaged
        await storage.delete(f"{env.client.client_id}:{user.user_id}")
        await within(app.sync())
        assert app.get_token(user.user_id) == pair
        await within(user.refresh())
    await env.expect(exchanges=2)
