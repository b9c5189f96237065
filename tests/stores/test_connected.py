"""Opening, closing, event loops and forks."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from tests.fernet.makers import KEY
from tests.redis_store.conftest import namespace, server  # noqa: F401 - fixtures
from tests.sqlite_store.tools import run_script
from twitchvault.errors import StoreError, WrongEventLoop
from twitchvault.stores import FernetStore, MemoryStore, RedisStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], MemoryStore | SQLiteStore | RedisStore | FernetStore]


every_store = pytest.mark.parametrize(
    "make_store", ["memory", "sqlite", "redis", "fernet"], indirect=True
)


@pytest.fixture(params=["sqlite", "redis"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes stores of one kind: of those that hold a connection, unless it is `every_store`."""
    path = tmp_path / "tokens.db"
    if request.param == "redis":
        url, name = (request.getfixturevalue(fixture) for fixture in ("server", "namespace"))
        return functools.partial(RedisStore, url.url, namespace=name)
    kinds: dict[str, Make] = {
        "memory": MemoryStore,
        "sqlite": lambda: SQLiteStore(path),
        "fernet": lambda: FernetStore(SQLiteStore(path), KEY),
    }
    return kinds[request.param]


@every_store
async def test_before_open_and_after_close_have_their_own_messages(make_store: Make) -> None:
    """Each says what the state is and what to do; a store that never was open is not closed."""
    store = make_store()
    for state in ("is not open yet: call 'await store.open()' first",
                  "is closed: call 'await store.open()' to use it again"):  # fmt: skip
        await store.close()
        for call in (store.get("a"), store.put("a", b"1"), store.delete("a")):
            with pytest.raises(StoreError) as refused:
                await call
            name = repr(store)
            if isinstance(store, MemoryStore | FernetStore):
                name = f"this {type(store).__name__}"
            assert str(refused.value) == f"{name} {state}"
        await store.open()
        assert await store.get("a") is None
    await store.close()


@every_store
def test_one_store_serves_successive_loops(make_store: Make) -> None:
    """One object can be opened by one `asyncio.run` after another; what it holds stays."""
    store = make_store()

    async def use(expect: int) -> int:
        await store.open()
        async with store.watch() as feed:
            version = await store.put("a", b"1", expect=expect)
            assert [change.version for change in await feed.wait()] == [version]
        await store.close()
        return version

    first = asyncio.run(use(0))
    second = asyncio.run(use(first))
    assert asyncio.run(use(second)) > second > first


async def test_opens_and_closes_take_effect_in_order(make_store: Make) -> None:
    """Of calls that are made at once the last one counts."""
    store = make_store()
    steps = [store.open(), store.open(), store.close(), store.open(), store.close(), store.open()]
    await asyncio.gather(*steps)
    assert await store.put("a", b"1")
    await asyncio.gather(store.close(), store.open(), store.close(), store.close())
    with pytest.raises(StoreError, match="is closed"):
        await store.get("a")


async def test_a_cancelled_open_ends_in_the_background(make_store: Make) -> None:
    """Nothing is left half open: `close` waits for it, or a second `open` follows it."""
    store = make_store()
    for follow in (store.close, store.close, store.open):
        opening = asyncio.create_task(store.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await follow()
    assert await store.put("a", b"1")
    await store.close()


async def test_a_cancelled_close_goes_on(make_store: Make) -> None:
    """Writes under way are finished although the caller of `close` is cancelled."""
    store = make_store()
    await store.open()
    puts = [asyncio.create_task(store.put(f"k{n}", b"1")) for n in range(1_500)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await store.close()
    assert len({put.result() for put in puts}) == 1_500


async def test_another_living_loop_is_refused(make_store: Make) -> None:
    """Two threads with a loop each: the second gets a sentence, and the way that it names works."""
    store = make_store()
    await store.open()
    loop = asyncio.get_running_loop()

    async def other() -> None:
        for step in (store.get("a"), store.put("a", b"2"), store.open(), store.close()):
            with pytest.raises(WrongEventLoop) as refused:
                await step
            assert str(refused.value) == (
                f"{store!r} was opened on another event loop, which is not closed: call it there, "
                "by 'asyncio.run_coroutine_threadsafe', or make a store for each loop"
            )
        written = asyncio.run_coroutine_threadsafe(store.put("a", b"1"), loop)
        assert await asyncio.wrap_future(written)

    await asyncio.to_thread(asyncio.run, other())
    assert await store.get("a")
    await store.close()


FORK = """
import asyncio, os, sys, warnings
from twitchvault.errors import StoreError
from twitchvault.stores import RedisStore, SQLiteStore

warnings.simplefilter("ignore", DeprecationWarning)  # threads live in the parent
kind, place, namespace = sys.argv[1:]
store = SQLiteStore(place) if kind == "sqlite" else RedisStore(place, namespace=namespace)

async def parent():
    await store.open()
    await store.put("a", b"1")

async def scan():
    return [entry async for entry in store.scan()]

async def child():
    steps = store.get("a"), store.put("a", b"2"), scan(), store.open(), watching.__aenter__()
    for step in steps:
        try:
            await step
        except StoreError as error:
            print(error, flush=True)
    await store.close()

async def go_on():
    await store.put("a", b"3")
    await store.close()
    print("the parent went on")

watching = store.watch()
loop = asyncio.new_event_loop()
loop.run_until_complete(parent())
if not os.fork():
    asyncio.run(child())
    os._exit(0)  # a usual end would close the parent's loop as well
os.wait()
loop.run_until_complete(go_on())
loop.close()
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_fork(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In the child of an open store every call is an error; the parent goes on."""
    place, name = str(tmp_path / "tokens.db"), ""
    store = f"SQLiteStore({place!r})"
    if kind == "redis":
        place, name = request.getfixturevalue("server").url, request.getfixturevalue("namespace")
        store = f"RedisStore(namespace={name!r}, min_replicas=0)"
    refusal = (
        f"{store} was open when this process was forked: close it before, or start processes by "
        "'spawn' or 'forkserver'"
    )
    lines = run_script(FORK, kind, place, name).splitlines()
    assert lines == [refusal] * 5 + ["the parent went on"]
