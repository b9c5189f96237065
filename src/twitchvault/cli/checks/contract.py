"""Whether a store does what the vault relies on: a few calls on a key that no user has."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from twitchvault.cli.checks import Check
from twitchvault.errors import StoreError, VersionConflict
from twitchvault.stores.base import Watchable

if TYPE_CHECKING:
    from twitchvault.stores import Feed, TokenStore

_KEYS: Final = 1024
"""A store may remember each deleted key for good, so they are not new ones each time."""
_ADVICE: Final = "twitchvault.testing.StoreContract says more of a store of your own"


class _Fault(Exception):
    """The store has not kept the contract."""


async def check_contract(store: TokenStore) -> Check:
    """Whether an open store can be read, written, compared and watched."""
    key = f"twitchvault/doctor/{random.randrange(_KEYS)}"  # noqa: S311
    try:
        async with AsyncExitStack() as stack:
            feed = None
            if isinstance(store, Watchable):
                feed = await stack.enter_async_context(store.watch(key))
            await _exercise(store, key, feed)
    except _Fault as fault:
        return Check("contract", "problem", str(fault), _ADVICE)
    except StoreError as error:
        return Check("contract", "problem", str(error), "the store must be readable and writable")
    finally:
        with suppress(StoreError):
            await store.delete(key)
    watched = "watched" if isinstance(store, Watchable) else "scanned every second"
    return Check("contract", "ok", f"read, written, compared, {watched}")


async def _exercise(store: TokenStore, key: str, feed: Feed | None) -> None:
    held = await store.get(key)
    start = 0 if held is None else held.version
    first = await store.put(key, b"first", expect=start)
    _expect(first > start, "a write did not get a larger version")
    try:
        await store.put(key, b"wrong", expect=start)
    except VersionConflict:
        pass
    else:
        raise _Fault("a write that expected an old version was not refused")
    entry = await store.get(key)
    found = entry and (entry.version, entry.value)
    _expect(found == (first, b"first"), "what was written is not what is read")
    second = await store.put(key, b"second", expect=first)
    _expect(second > first, "a write did not get a larger version")
    scanned = [entry.version async for entry in store.scan(key) if entry.key == key]
    _expect(scanned == [second], "a scan does not find what was written")
    if feed is not None:
        changes = [change.version for change in await feed.catch_up() if change.key == key]
        _expect(second in changes, "the feed does not bring what was written")
    _expect(await store.delete(key, expect=second), "a delete did not find its entry")
    _expect(await store.get(key) is None, "what was deleted is still there")
    third = await store.put(key, b"third", expect=0)
    _expect(third > second, "a write after a delete did not get a larger version")


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _Fault(otherwise)
