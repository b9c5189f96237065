"""One key: absent and present, versions, compare-and-set, values, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from twitchvault.errors import CorruptRecord, DecryptionError, VersionConflict
from twitchvault.testing.contract.kit import (
    Kit,
    check_conflict,
    check_unreadable,
    check_version,
    content,
    held,
    rule,
)
from twitchvault.testing.contract.picture import caught_up, need_watch

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore

VALUES: Final[tuple[bytes, ...]] = (
    b"",
    b"\0",
    b"0",
    b"null",
    b"None",
    b"line\r\nline\n",
    b" padded ",
    "\N{SNOWMAN}".encode(),
    b"\xff\xfe not UTF-8",
    bytes(range(256)),
    bytes(range(256)) * 4096,
)
NOT_BYTES: Final[tuple[object, ...]] = ("text", None, 7, ["a"])
FAR: Final = (1000, 2**31, 2**53, 2**63, 2**70)
"""What is added to a version to get one that no key stands at; some do not fit 64 bits."""


class Entries(Kit):
    """What holds for one key at a time."""

    async def damage(self, store: TokenStore, key: str) -> None:
        """Spoil what is stored under `key`, behind the store's back. Override to test damage."""
        raise NotImplementedError

    @rule()
    async def test_get_of_an_absent_key(self, store: TokenStore) -> None:
        """A key that was never written gives None."""
        found = await store.get("absent")
        assert found is None, f"get() of a key never written must give None, it gave {found!r}"
        assert await content(store) == {}, "the store must be empty at the start of a test"

    @rule()
    async def test_delete_of_an_absent_key(self, store: TokenStore) -> None:
        """Deleting what is not there is False, not an error."""
        assert await store.delete("absent") is False, "delete() of an absent key must give False"
        gone = await store.delete("absent", expect=0)
        assert gone is False, "delete(expect=0) of an absent key must give False"

    @rule()
    async def test_put_then_get(self, store: TokenStore) -> None:
        """What was put is there, at the version that put returned."""
        version = await store.put("key", b"value")
        check_version(version, "put()")
        entry = await held(store, "key")
        assert entry == ("key", version, b"value"), f"put b'value' at {version}, got {entry!r}"
        assert await content(store) == {"key": entry}, "get() and scan() must give the same entry"

    @rule()
    async def test_overwrite(self, store: TokenStore) -> None:
        """A second put replaces the value and takes a larger version."""
        first = await store.put("key", b"first")
        second = await store.put("key", b"second")
        assert second > first, f"put() gave version {second} after {first}; it must be larger"
        assert await held(store, "key") == ("key", second, b"second"), "the last put must stand"
        same = await store.put("key", b"second")
        assert same > second, "a put of the same bytes is a write too: it takes a larger version"

    @rule()
    async def test_delete(self, store: TokenStore) -> None:
        """A deleted key is absent, and can be written again."""
        old = await store.put("key", b"value")
        assert await store.delete("key") is True, "delete() of a present key must give True"
        assert await store.get("key") is None, "a deleted key must be absent"
        assert await content(store) == {}, "a deleted key must not be in a scan"
        assert await store.delete("key") is False, "a second delete() must give False"
        new = await store.put("key", b"again", expect=0)
        assert new > old, f"after a delete put() gave version {new}, before it {old}"

    @rule()
    async def test_versions_grow_over_the_whole_store(self, store: TokenStore) -> None:
        """Each write takes a larger version than any before it, whatever the key."""
        versions = [await store.put(key, b"1") for key in ("b", "a", "c", "a")]
        versions.append(await store.put("a", b"2", expect=versions[-1]))
        versions.append(await store.put("d", b"2", expect=0))
        await store.delete("d")
        versions.append(await store.put("b", b"2"))
        assert versions == sorted(set(versions)), (
            f"versions must grow with each write over all keys, these do not: {versions}"
        )

    @rule()
    async def test_versions_are_not_reused_after_a_delete(self, store: TokenStore) -> None:
        """A deleted entry's version never comes again, not even that of the newest one."""
        low = await store.put("low", b"1")
        newest = await store.put("newest", b"1")
        await store.delete("newest")
        again = await store.put("newest", b"2", expect=0)
        assert again > newest, f"version {again} came after {newest} had been deleted: reused"
        await store.delete("newest", expect=again)
        await store.delete("low")
        other = await store.put("other", b"1")
        assert other > again > low, f"version {other} came after {again} in an emptied store"

    @rule()
    async def test_expect_zero_creates(self, store: TokenStore) -> None:
        """`put(expect=0)` writes an absent key and no other."""
        version = await store.put("key", b"first", expect=0)
        with pytest.raises(VersionConflict) as caught:
            await store.put("key", b"second", expect=0)
        check_conflict(caught.value, "key", 0, version)
        assert await held(store, "key") == ("key", version, b"first"), "a refused put wrote"

    @rule()
    async def test_expect_version_replaces(self, store: TokenStore) -> None:
        """`put(expect=n)` writes a key that stands at n and no other."""
        first = await store.put("key", b"first")
        second = await store.put("key", b"second", expect=first)
        assert second > first, f"put(expect={first}) gave version {second}; it must be larger"
        with pytest.raises(VersionConflict) as caught:
            await store.put("key", b"third", expect=first)
        check_conflict(caught.value, "key", first, second)
        assert await held(store, "key") == ("key", second, b"second"), "a refused put wrote"

    @rule()
    async def test_expect_version_of_an_absent_key(self, store: TokenStore) -> None:
        """`put(expect=n)` never creates: an absent key is a conflict, found 0."""
        with pytest.raises(VersionConflict) as caught:
            await store.put("key", b"value", expect=1)
        check_conflict(caught.value, "key", 1, 0)
        version = await store.put("key", b"value")
        await store.delete("key")
        with pytest.raises(VersionConflict) as caught:
            await store.put("key", b"value", expect=version)
        check_conflict(caught.value, "key", version, 0)
        assert await content(store) == {}, "a refused put wrote"

    @rule()
    async def test_expect_of_another_life(self, store: TokenStore) -> None:
        """A version from before a delete does not fit the key that was written anew."""
        old = await store.put("key", b"old")
        await store.delete("key")
        new = await store.put("key", b"new")
        with pytest.raises(VersionConflict) as caught:
            await store.put("key", b"late", expect=old)
        check_conflict(caught.value, "key", old, new)
        with pytest.raises(VersionConflict) as caught:
            await store.delete("key", expect=old)
        check_conflict(caught.value, "key", old, new)
        assert await held(store, "key") == ("key", new, b"new"), "a refused call wrote"

    @rule()
    async def test_expect_of_versions_far_away(self, store: TokenStore) -> None:
        """A version that was never given is a conflict, also one too large for the backend."""
        version = await store.put("key", b"value")
        for expect in (version + far for far in FAR):
            with pytest.raises(VersionConflict) as caught:
                await store.put("key", b"other", expect=expect)
            check_conflict(caught.value, "key", expect, version)
            with pytest.raises(VersionConflict) as caught:
                await store.delete("key", expect=expect)
            check_conflict(caught.value, "key", expect, version)
        assert await held(store, "key") == ("key", version, b"value"), "a refused call wrote"

    @rule()
    async def test_expect_in_delete(self, store: TokenStore) -> None:
        """`delete(expect=n)` removes a key that stands at n and no other."""
        first = await store.put("key", b"first")
        second = await store.put("key", b"second")
        for expect in (0, first):
            with pytest.raises(VersionConflict) as caught:
                await store.delete("key", expect=expect)
            check_conflict(caught.value, "key", expect, second)
        assert await held(store, "key") == ("key", second, b"second"), "a refused delete deleted"
        gone = await store.delete("key", expect=second)
        assert gone is True, "delete(expect=n) of a key that stands at n must give True"
        assert await store.get("key") is None, "a deleted key must be absent"
        with pytest.raises(VersionConflict) as caught:
            await store.delete("key", expect=second)
        check_conflict(caught.value, "key", second, 0)

    @rule()
    async def test_expect_that_is_no_version(self, store: TokenStore) -> None:
        """An `expect` that is negative or no int: ValueError or TypeError, and nothing happens."""
        before = await store.put("key", b"value"), await content(store)
        for expect in (-1, True, False, "1", 1.0):
            with pytest.raises((ValueError, TypeError)):
                await store.put("key", b"other", expect=expect)  # type: ignore[arg-type]
            with pytest.raises((ValueError, TypeError)):
                await store.delete("key", expect=expect)  # type: ignore[arg-type]
        assert await content(store) == before[1], "a call with a bad 'expect' changed the store"

    @rule()
    async def test_values_come_back_as_they_are(self, store: TokenStore) -> None:
        """Any bytes are kept: none, all 256, not UTF-8, a megabyte."""
        for value in VALUES:
            await store.put("key", value)
            got = (await held(store, "key")).value
            assert got == value, f"put {_short(value)}, got {_short(got)}"
            scanned = (await content(store))["key"].value
            assert scanned == value, f"put {_short(value)}, scan gave {_short(scanned)}"

    @rule()
    async def test_values_that_are_no_bytes(self, store: TokenStore) -> None:
        """A value that is not bytes is a TypeError or ValueError, and the old one stays."""
        await store.put("key", b"value")
        before = await content(store)
        for value in NOT_BYTES:
            for key in ("key", "new"):
                with pytest.raises((TypeError, ValueError)):
                    await store.put(key, value)  # type: ignore[arg-type]
        assert await content(store) == before, (
            "a put() of a value that is no bytes changed the store"
        )

    @rule("damage")
    async def test_damage_is_not_absence(self, store: TokenStore) -> None:
        """A damaged entry is an error, not absent; its neighbours live; a put repairs it."""
        await store.put("damaged", b"value")
        other = await store.put("other", b"value")
        await self.damage(store, "damaged")
        with pytest.raises((CorruptRecord, DecryptionError), match="damaged"):
            await store.get("damaged")
        assert await held(store, "other") == ("other", other, b"value"), "a neighbour was lost"
        found = await content(store)
        assert found.get("other") == ("other", other, b"value"), "scan() lost a neighbour"
        assert "damaged" in found, "scan() must not leave out a damaged entry"
        check_unreadable(found["damaged"].value, "scan()")
        version = await store.put("damaged", b"repaired")
        assert await held(store, "damaged") == ("damaged", version, b"repaired"), "not repaired"

    @rule("damage", "watch")
    async def test_damage_does_not_stop_a_feed(self, store: TokenStore) -> None:
        """A feed goes on beside a damaged entry, and never shows it as deleted."""
        damaged = await store.put("damaged", b"value")
        async with need_watch(store).watch() as feed:
            await self.damage(store, "damaged")
            other = await store.put("other", b"value")
            known = await caught_up(feed)
            assert known.get("other") == ("other", other, b"value"), f"a neighbour is lost: {known}"
            if "damaged" in known and known["damaged"].version > damaged:
                check_unreadable(known["damaged"].value, "a feed")
            version = await store.put("damaged", b"repaired")
            known = await caught_up(feed)
            assert known.get("damaged") == ("damaged", version, b"repaired"), "the repair is lost"


def _short(value: bytes) -> str:
    """The value, or its size and beginning."""
    return repr(value) if len(value) <= len(VALUES[-2]) else f"{len(value)} bytes {value[:20]!r}…"
