"""Keys that a callable gives, and that change while the store is open."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from twitchvault.errors import DecryptionError, StoreError, StoreUnavailable
from twitchvault.stores import Change, FernetStore, MemoryStore, SQLiteStore
from twitchvault.stores.base import PushingFeed, Unreadable, Watchable
from twitchvault.stores.fernet import session, source

from .makers import KEY, NEW, WRONG, content, swap, token, values

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class Service:
    """A key service of the test's own."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.calls = 0
        self.failure: BaseException | None = None

    async def __call__(self) -> list[str]:
        """The keys as they are now."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return list(self.keys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store ask again at once."""
    monkeypatch.setattr(session, "_PAUSE", 0.0)


@pytest.fixture
async def rotated(inner: MemoryStore, quick: None) -> tuple[FernetStore, Service, FernetStore]:  # noqa: ARG001
    """A store that knows only the old key, its service, and one that writes under the new."""
    service = Service(KEY)
    store = FernetStore(inner, service)
    await store.open()
    await store.put("kept", b"old")
    writer = FernetStore(inner, [NEW, KEY])
    await writer.open()
    service.keys = [NEW, KEY]
    return store, service, writer


async def _awaited() -> str:
    return KEY


@pytest.mark.parametrize(
    "keys", [lambda: KEY, lambda: [KEY], _awaited, partial(_awaited), Service(KEY)]
)
async def test_forms_of_callables(
    inner: MemoryStore, store: FernetStore, keys: Callable[[], Any]
) -> None:
    """It may return the keys or an awaitable of them."""
    await store.put("key", b"value")
    other = FernetStore(inner, keys)
    await other.open()
    assert await values(other) == {"key": b"value"}


async def test_plain_function_runs_beside_the_loop(inner: MemoryStore) -> None:
    """A function that waits for a key service does not hold up the loop."""
    gate = threading.Event()

    def keys() -> str:
        assert gate.wait(10)
        return KEY

    opening = asyncio.create_task(FernetStore(inner, keys).open())
    await asyncio.sleep(0.01)
    gate.set()
    await opening


async def test_bad_keys_of_a_callable(inner: MemoryStore) -> None:
    """Keys that are none are a ValueError at open, not when the store is made."""
    store = FernetStore(inner, lambda: "short")
    with pytest.raises(ValueError, match="'keys'\\[0\\] is not a Fernet key"):
        await store.open()
    assert await content(inner) == {}


async def test_failing_callable(inner: MemoryStore) -> None:
    """A key service that is down is weather; its own words are not repeated."""
    service = Service(KEY)
    service.failure = OSError(f"canary {KEY}")
    store = FernetStore(inner, service)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert str(caught.value) == "the callable 'keys' failed with OSError"
    assert caught.value.__cause__ is None
    service.failure = StoreUnavailable("the key service is down")
    with pytest.raises(StoreUnavailable, match="the key service is down"):
        await store.open()


async def test_hanging_callable(inner: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key service that does not answer is given up."""
    monkeypatch.setattr(source, "_PATIENCE", 0.02)

    async def keys() -> str:
        await asyncio.Event().wait()
        return KEY

    with pytest.raises(StoreUnavailable, match="gave no keys within"):
        await FernetStore(inner, keys).open()


async def test_get_asks_again(rotated: tuple[FernetStore, Service, FernetStore]) -> None:
    """An entry under a key that came since is read, and the new key encrypts from then on."""
    store, service, writer = rotated
    await writer.put("key", b"new")
    assert service.calls == 1
    entry = await store.get("key")
    assert entry
    assert entry.value == b"new"
    assert service.calls == 2
    await store.put("mine", b"value")
    assert store._session
    assert (await writer.rotate()).rewritten == 2, "the check entry and 'kept' were under the old"


async def test_scan_asks_once(rotated: tuple[FernetStore, Service, FernetStore]) -> None:
    """A scan asks once for all that it cannot open."""
    store, service, writer = rotated
    for number in range(200):
        await writer.put(f"key:{number}", b"new")
    assert await values(store) == {"kept": b"old"} | {f"key:{n}": b"new" for n in range(200)}
    assert service.calls == 2


async def test_service_is_not_flooded(inner: MemoryStore) -> None:
    """Callers who come at once share a question, and there is one a second."""
    service = Service(KEY)
    store = FernetStore(inner, service)
    await store.open()
    await swap(inner, "bad", await _sealed("bad"))
    start = time.monotonic()
    for _ in range(2):
        results = await asyncio.gather(
            *(store.get("bad") for _ in range(50)), return_exceptions=True
        )
        assert {type(result) for result in results} == {DecryptionError}
    assert service.calls == 3
    assert time.monotonic() - start >= session._PAUSE


async def _sealed(key: str) -> bytes:
    """A ciphertext under a key that is never given."""
    elsewhere = FernetStore(MemoryStore(), WRONG)
    await elsewhere.open()
    await elsewhere.put(key, b"value")
    return await token(elsewhere._inner, key)


async def test_service_down_is_not_damage(
    rotated: tuple[FernetStore, Service, FernetStore],
) -> None:
    """While the keys cannot be asked for, nobody knows whether an entry is damaged."""
    store, service, writer = rotated
    await writer.put("key", b"new")
    service.failure = OSError("down")
    with pytest.raises(StoreUnavailable) as caught:
        await store.get("key")
    assert str(caught.value) == (
        "asking for the keys again brought none that helps: the callable 'keys' failed with OSError"
    )
    found = await values(store)
    assert found["kept"] == b"old"
    assert isinstance(found["key"], Unreadable)
    assert "the callable 'keys' failed with OSError" in str(found["key"].error)
    service.failure = None
    assert (await values(store))["key"] == b"new"


@pytest.mark.parametrize("keys", [[WRONG], ["short"], []])
async def test_wrong_keys_are_not_taken(
    rotated: tuple[FernetStore, Service, FernetStore], keys: list[str]
) -> None:
    """Keys that do not open the store are never used, however late they come."""
    store, service, writer = rotated
    await writer.put("key", b"new")
    service.keys = keys
    with pytest.raises(StoreUnavailable, match="asking for the keys again brought none that helps"):
        await store.get("key")
    with pytest.raises((DecryptionError, ValueError)):
        await store.rotate()
    await store.put("mine", b"value")
    assert (await values(writer))["mine"] == b"value"


async def test_store_replaced_while_open(inner: MemoryStore, quick: None) -> None:  # noqa: ARG001
    """A store that was emptied and made anew is told when the keys are asked for."""
    service = Service(KEY)
    store = FernetStore(inner, service)
    await store.open()
    for key in await content(inner):
        await inner.delete(key)
    with pytest.raises(StoreError, match="emptied or replaced by another while it was open"):
        await store.rotate()
    await FernetStore(inner, KEY).open()
    with pytest.raises(StoreError, match="emptied or replaced by another while it was open"):
        await store.rotate()


async def _by_wait(feed: Any) -> list[Change]:  # noqa: ANN401
    changes: list[Change] = await feed.wait()
    return changes


async def _by_drain_and_wait(feed: Any) -> list[Change]:  # noqa: ANN401
    changes: list[Change] = feed.drain()
    return changes + await _by_wait(feed)


async def _by_catch_up(feed: Any) -> list[Change]:  # noqa: ANN401
    changes: list[Change] = await feed.catch_up()
    return changes


@pytest.mark.parametrize("reader", [_by_wait, _by_drain_and_wait, _by_catch_up])
async def test_feed_asks_again(
    rotated: tuple[FernetStore, Service, FernetStore],
    reader: Callable[[Any], Awaitable[list[Change]]],
) -> None:
    """A change under a key that came since reaches the reader decrypted, by each method."""
    store, _, writer = rotated
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        version = await writer.put("key", b"new")
        assert await reader(feed) == [Change("key", version, b"new")]


async def test_put_aside_by_drain_while_wait_waits(
    rotated: tuple[FernetStore, Service, FernetStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a drain could not open is given by a wait that was under way already."""
    monkeypatch.setattr("twitchvault.stores.fernet.feed._LOOK_AGAIN", 0.02)
    store, service, writer = rotated
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        waiting = asyncio.create_task(feed.wait())
        version = await writer.put("key", b"new")
        assert feed.drain() == []
        async with asyncio.timeout(5):
            assert await waiting == [Change("key", version, b"new")]
        service.failure = OSError()
        await swap(writer._inner, "key", await _sealed("key"))
        assert feed.drain() == []
        async with asyncio.timeout(5):
            (change,) = await feed.wait()
        assert isinstance(change.value, Unreadable)
        assert "failed with OSError" in str(change.value.error)


async def test_newer_change_of_a_key_put_aside(
    rotated: tuple[FernetStore, Service, FernetStore],
) -> None:
    """An older change is not given after a newer one of the same key."""
    store, _, writer = rotated
    assert isinstance(store, Watchable)
    async with store.watch() as feed:
        await writer.put("key", b"new")
        assert feed.drain() == []
        version = await store.put("key", b"newer, under the old key")
        assert feed.drain() == [Change("key", version, b"newer, under the old key")]
        assert await feed.catch_up() == []
        await writer.put("key", b"new")
        assert feed.drain() == []
        await store.delete("key")
        (change,) = feed.drain()
        assert change.value is None
        assert await feed.catch_up() == []


async def test_pushing_feed_asks_again(
    rotated: tuple[FernetStore, Service, FernetStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that pushes hands over, by `wait` or `catch_up`, what needed another key."""
    monkeypatch.setattr("twitchvault.stores.fernet.feed._LOOK_AGAIN", 0.02)
    store, service, writer = rotated
    assert isinstance(store, Watchable)
    given: list[Change] = []
    called = asyncio.Event()

    def sink(changes: list[Change]) -> None:
        given.extend(changes)
        called.set()

    async with store.watch() as feed:
        assert isinstance(feed, PushingFeed)
        feed.push_to(sink)
        waiting = asyncio.create_task(feed.wait())
        one = await writer.put("key", b"new")
        async with asyncio.timeout(5):
            await called.wait()
        assert given == [Change("key", one, b"new")]
        assert not waiting.done()
        waiting.cancel()
        service.keys = [WRONG]
        await swap(writer._inner, "bad", await _sealed("bad"))
        assert await feed.catch_up() == []
        assert isinstance(given[-1].value, Unreadable)


async def test_other_process_rotates(tmp_path: Path, quick: None) -> None:  # noqa: ARG001
    """A store that only knew the old key follows a rotation by another process."""
    service = Service(KEY)
    first = FernetStore(SQLiteStore(tmp_path / "tokens.db"), service)
    await first.open()
    for number in range(20):
        await first.put(f"key:{number}", b"value")
    assert isinstance(first, Watchable)
    async with first.watch() as feed:
        second = FernetStore(SQLiteStore(tmp_path / "tokens.db"), [NEW, KEY])
        await second.open()
        service.keys = [NEW, KEY]
        report = await second.rotate()
        assert report.old_keys_unused
        changes = {change.key: change.value for change in await feed.catch_up()}
        assert changes == {f"key:{n}": b"value" for n in range(20)}
    await first.put("after", b"value")
    await first.close()
    await second.close()
    only = FernetStore(SQLiteStore(tmp_path / "tokens.db"), NEW)
    await only.open()
    assert len(await values(only)) == 21
    assert not [value for value in (await values(only)).values() if isinstance(value, Unreadable)]
    await only.close()
