"""One key: absent and present, versions, compare-and-set, values, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.errors import CorruptRecord, DecryptionError
from twitchvault.testing.contract.replica import caught_up
from twitchvault.testing.contract.support import (
    ContractFixtures,
    check_refused,
    check_unreadable,
    check_version,
    get_entry,
    scan_all,
)

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.contract.support import Damage, Watch

VALUES: Final[tuple[bytes, ...]] = (
    *(b"", b"\0", b"0", b"null", b"None", b"line\r\nline\n", b" padded "),
    *("\N{SNOWMAN}".encode(), b"\xff\xfe not UTF-8", bytes(range(256)), bytes(range(256)) * 4096),
)
FAR: Final = (1000, 2**31, 2**53, 2**63, 2**70)
"""What is added to a version to get one that no key stands at; some do not fit 64 bits."""


class Entries(ContractFixtures):
    """What holds for one key at a time."""

    async def test_absent_key(self, store: TokenStore) -> None:
        """A key that was never written gives None, and deleting it is False, not an error."""
        found = await store.get("absent")
        assert found is None, f"get() of a key never written must give None, it gave {found!r}"
        assert await scan_all(store) == {}, "the store must be empty at the start of a test"
        assert await store.delete("absent") is False, "delete() of an absent key must give False"
        assert await store.delete("absent", expect=0) is False, "and with expect=0, too"

    async def test_put_then_get(self, store: TokenStore) -> None:
        """What was put is there, at the version that put returned; a second put replaces it."""
        first = await store.put("key", b"first")
        check_version(first, "put()")
        entry = await get_entry(store, "key")
        assert entry == ("key", first, b"first"), f"put b'first' at {first}, got {entry!r}"
        assert await scan_all(store) == {"key": entry}, "get() and scan() must give the same entry"
        second = await store.put("key", b"second")
        assert second > first, f"put() gave version {second} after {first}; it must be larger"
        assert await get_entry(store, "key") == ("key", second, b"second"), "the last put is lost"
        same = await store.put("key", b"second")
        assert same > second, "a put of the same bytes is a write too: it takes a larger version"

    async def test_delete(self, store: TokenStore) -> None:
        """A deleted key is absent, and can be written again."""
        await store.put("key", b"value")
        assert await store.delete("key") is True, "delete() of a present key must give True"
        assert await store.get("key") is None, "a deleted key must be absent"
        assert await scan_all(store) == {}, "a deleted key must not be in a scan"
        assert await store.delete("key") is False, "a second delete() must give False"
        assert await store.put("key", b"again", expect=0), "put() after a delete"

    async def test_calls_that_nobody_awaits(self, store: TokenStore) -> None:
        """A put or delete that is called and not awaited does nothing."""
        version = await store.put("key", b"value")
        for call in (store.put("key", b"x"), store.put("new", b"x"), store.delete("key")):
            getattr(call, "close", lambda: None)()
        await store.put("last", b"value")
        assert await store.get("key") == ("key", version, b"value"), "not awaited, yet done"
        assert await store.get("new") is None, "a put() that nobody awaited has written"

    async def test_versions_grow_over_the_whole_store(self, store: TokenStore) -> None:
        """Each write takes a larger version than any before it, whatever the key, also after a
        delete of the newest.
        """
        versions = [await store.put(key, b"1") for key in ("b", "a", "c", "a")]
        versions.append(await store.put("a", b"2", expect=versions[-1]))
        versions.append(await store.put("d", b"2", expect=0))
        assert versions == sorted(set(versions)), (
            f"versions must grow with each write over all keys, these do not: {versions}"
        )
        for key in ("d", "a", "b", "c"):
            await store.delete(key)
            versions.append(await store.put("d", b"1"))
            assert versions[-1] > versions[-2], (
                f"version {versions[-1]} came after {versions[-2]} had been deleted: reused"
            )
            await store.delete("d")

    async def test_expect_zero_creates(self, store: TokenStore) -> None:
        """`put(expect=0)` writes an absent key and no other."""
        version = await store.put("key", b"first", expect=0)
        await check_refused(store.put("key", b"second", expect=0), "key", 0, version)
        assert await get_entry(store, "key") == ("key", version, b"first"), "a refused put wrote"

    async def test_expect_version_replaces(self, store: TokenStore) -> None:
        """`put(expect=n)` writes a key that stands at n and no other, absent ones neither."""
        first = await store.put("key", b"first")
        second = await store.put("key", b"second", expect=first)
        await check_refused(store.put("key", b"third", expect=first), "key", first, second)
        assert await get_entry(store, "key") == ("key", second, b"second"), "a refused put wrote"
        await store.delete("key")
        await check_refused(store.put("key", b"fourth", expect=second), "key", second, 0)
        assert await scan_all(store) == {}, "a refused put wrote"

    async def test_expect_of_other_versions(self, store: TokenStore) -> None:
        """A version from before a delete, or one that was never given, is a conflict."""
        old = await store.put("key", b"old")
        await store.delete("key")
        new = await store.put("key", b"new")
        for expect in (old, *(new + far for far in FAR)):
            await check_refused(store.put("key", b"x", expect=expect), "key", expect, new)
            await check_refused(store.delete("key", expect=expect), "key", expect, new)
        assert await get_entry(store, "key") == ("key", new, b"new"), "a refused call wrote"

    async def test_expect_in_delete(self, store: TokenStore) -> None:
        """`delete(expect=n)` removes a key that stands at n and no other."""
        version = await store.put("key", b"value")
        await check_refused(store.delete("key", expect=0), "key", 0, version)
        assert await get_entry(store, "key") == ("key", version, b"value"), "a refused delete wrote"
        gone = await store.delete("key", expect=version)
        assert gone is True, "delete(expect=n) of a key that stands at n must give True"
        assert await store.get("key") is None, "a deleted key must be absent"
        await check_refused(store.delete("key", expect=version), "key", version, 0)

    async def test_values_come_back_as_they_are(self, store: TokenStore) -> None:
        """Any bytes are kept: none, all 256, not UTF-8, a megabyte."""
        for value in VALUES:
            await store.put("key", value)
            for found in (await get_entry(store, "key"), (await scan_all(store))["key"]):
                assert found.value == value, f"put {value[:300]!r}, got {found.value[:300]!r}"

    async def test_damage_is_not_absence(self, store: TokenStore, damage_entry: Damage) -> None:
        """A damaged entry is an error, not absent; its neighbours live; a put repairs it."""
        await store.put("damaged", b"value")
        other = await store.put("other", b"value")
        await damage_entry("damaged")
        with pytest.raises((CorruptRecord, DecryptionError), match="damaged"):
            await store.get("damaged")
        assert await get_entry(store, "other") == ("other", other, b"value"), "a neighbour was lost"
        found = await scan_all(store)
        assert found.get("other") == ("other", other, b"value"), "scan() lost a neighbour"
        assert "damaged" in found, "scan() must not leave out a damaged entry"
        check_unreadable(found["damaged"].value, "scan()")
        await store.put("damaged", b"repaired")
        assert (await get_entry(store, "damaged")).value == b"repaired", "a put() must repair it"

    async def test_damage_does_not_stop_a_feed(
        self, store: TokenStore, watch: Watch, damage_entry: Damage
    ) -> None:
        """A feed goes on beside a damaged entry, and never shows it as deleted."""
        damaged = await store.put("damaged", b"value")
        async with watch() as feed:
            await damage_entry("damaged")
            other = await store.put("other", b"value")
            known = await caught_up(feed)
            assert known.get("other") == ("other", other, b"value"), f"a neighbour is lost: {known}"
            if "damaged" in known and known["damaged"].version > damaged:
                check_unreadable(known["damaged"].value, "a feed")
            version = await store.put("damaged", b"repaired")
            known = await caught_up(feed)
            assert known.get("damaged") == ("damaged", version, b"repaired"), "the repair is lost"
