"""Entries: versions, compare-and-set, values, damage; many keys, hostile ones, scans."""

from __future__ import annotations

import asyncio
from collections import Counter
from inspect import iscoroutine
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from twitchvault.errors import CorruptRecord, DecryptionError
from twitchvault.stores.base import MAX_KEY_BYTES, Entry, Unreadable
from twitchvault.testing.contract.support import (
    LATE,
    ContractFixtures,
    check_conflict,
    check_entry,
    check_parts,
    get_entry,
    result_of,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Set

    from twitchvault.stores.base import TokenStore
    from twitchvault.testing.contract.support import Damage

VALUES: Final[tuple[bytes, ...]] = (
    *(b"", b"\0", b"0", b"null", b"None", b"line\r\nline\n", b" padded "),
    *("\N{SNOWMAN}".encode(), b"\xff\xfe not UTF-8", bytes(range(256)), bytes(range(256)) * 4096),
)
FAR: Final = (1000, 2**31, 2**53, 2**63, 2**70)
"""What is added to a version to get one that no key stands at; some do not fit 64 bits."""


# fmt: off
KEYS: Final = (
    "app", "APP", "App", "APPLE", "apple", "ap", "a", "app:1", "app:10", "app_1", "appX1",
    "*", "**", "a*", "a*b", "?", "a?", "[x]", "[a-z]", "x", "[", "]", "^a", "a$", "a.",
    "%", "a%", "a%b", "%41", "_", "a_", "__", "ab", "aXb", "axb",
    "\0", "a\0", "a\0b", "\\", "a\\", "\\*", "a\\%", "\\0", "'", "''", '"', '"a"', "`", "a'--",
    "\n", "a\n", "a\r\nb", "\t", " ", "  ", " a", "a ", "a  b", "\x7f", "\x1b[0m",
    ".", "..", "../a", "/", "//", "/a", "a/", "a/b", "a//b", "./a", "C:\\a", "con", "~",
    "{", "}", "{a}", "{}", "{{a}}", ":", "a:", ":a", "a:b", "a:b:c", "a::b", ";", "a;b", "#", "@",
    "\xe9", "e\u0301", "\xc9", "\xdf", "ss", "\u0131", "i", "I", "\u0130", "\ufb01", "fi",
    "\u212b", "\xc5", "\xa0", "\u200b", "a\u200b", "\ufeffa", "\u202ea", "\ufffd", "a\uffff",
    "\ud7ff", "a\ud7ff", "\ud7ffa", "\ue000", "\U0001f511", "a\U0001f511",
    "\U0010ffff", "a\U0010ffff", "a\U0010ffffz",
    "0", "00", "1", "-1", "1.0", "1e0", "None", "null", "True", "$", "$a", "&", "a=b", "a,b", "-",
    "__proto__", "version", "versions", "key", "changes",
    "k" * MAX_KEY_BYTES, "k" * (MAX_KEY_BYTES - 1),
    "\xe9" * (MAX_KEY_BYTES // 2), "\U0001f511" * (MAX_KEY_BYTES // 4),
)
# fmt: on
"""Keys that no store may confuse: patterns, escapes, separators, case, Unicode forms, lengths."""

TOO_LONG: Final = ("k" * (MAX_KEY_BYTES + 1), "\xe9" * (MAX_KEY_BYTES // 2) + "k")
NOT_UTF8: Final = ("\ud800", "a\udfffb")
MANY: Final = 2500
SOME: Final = 250


class Entries(ContractFixtures):
    """What holds for one key at a time, and between keys."""

    async def test_put_then_get(self, store: TokenStore) -> None:
        """`get` and `scan` give what was put, at the version that `put` returned."""
        last = 0
        for value in (b"first", b"second", b"second"):
            version = await store.put("key", value)
            rule = "it must give a larger int than any before, also for a put of the same bytes"
            right = type(version) is int and version > last
            assert right, f"put() gave version {version!r} after {last}: {rule}"
            last, entry = version, ("key", version, value)
            await check_entry(store, entry, "what was put is not there")
            found = await scan_all(store)
            assert found == {"key": entry}, f"after a put scan() must give {entry}, not {found}"

    async def test_absent_keys(self, store: TokenStore) -> None:
        """`get` of an absent key gives None, and `delete` of one returns False."""
        assert await scan_all(store) == {}, "the store must be empty at the start of a test"
        for state in ("never written", "deleted"):
            found = await store.get("key")
            assert found is None, f"get() of a key that was {state} must give None, not {found!r}"
            gone = [await store.delete("key"), await store.delete("key", expect=0)]
            assert gone == [False, False], f"delete() of a key that was {state} must give False"
            await store.put("key", b"value", expect=0)
            assert await store.delete("key") is True, "delete() of a present key must give True"
            assert await scan_all(store) == {}, "a deleted key must not be in a scan"

    async def test_calls_that_nobody_awaits(self, store: TokenStore) -> None:
        """A put or delete that is called and not awaited does nothing."""
        before = ("key", await store.put("key", b"value"), b"value")
        rule = "a put() or delete() that nobody awaits must change nothing: make them 'async def'"
        calls: list[object] = [store.put("key", b"x"), store.put("new", b"x"), store.delete("key")]
        for call in filter(iscoroutine, calls):
            call.close()
        assert not any(map(asyncio.isfuture, calls)), f"{rule}; a Task or Future has begun already"
        await store.put("last", b"value")
        await asyncio.sleep(LATE)
        await check_entry(store, before, rule)
        assert await store.get("new") is None, rule

    async def test_versions_grow_over_the_store(self, store: TokenStore) -> None:
        """Each write takes a larger version than any before it in the store, also after a delete
        of the newest.
        """
        versions = [await store.put(key, b"1") for key in ("b", "a", "c", "a")]
        for key in ("d", "a", "b", "c"):
            await store.delete(key)
            versions.append(await store.put("d", b"1"))
            await store.delete("d")
        assert versions == sorted(set(versions)), (
            f"versions must grow over all keys of the store, and none be reused: {versions}. Keep "
            "the last version apart, or keep the row of a deleted key, without a value"
        )

    async def test_put_with_expect(self, store: TokenStore) -> None:
        """`put(expect=n)` writes only if the key stands at version n (0: is absent)."""
        old = await store.put("key", b"old")
        await store.delete("key")
        for expect in (old, *FAR):
            await _check_refused(store.put("key", b"x", expect=expect), expect, 0)
        first = await store.put("key", b"first", expect=0)
        for expect in (0, old, *(first + far for far in FAR)):
            await _check_refused(store.put("key", b"x", expect=expect), expect, first)
        second = await store.put("key", b"second", expect=first)
        assert second > first, f"put(expect=n) gave version {second} after {first}"
        await _check_refused(store.put("key", b"x", expect=first), first, second)
        await check_entry(store, ("key", second, b"second"), "a refused put wrote")

    async def test_delete_with_expect(self, store: TokenStore) -> None:
        """`delete(expect=n)` removes the key only if it stands at version n."""
        old = await store.put("key", b"old")
        version = await store.put("key", b"value")
        for expect in (0, old, *(version + far for far in FAR)):
            await _check_refused(store.delete("key", expect=expect), expect, version)
        await check_entry(store, ("key", version, b"value"), "a refused delete wrote")
        gone = await store.delete("key", expect=version)
        assert gone is True, "delete(expect=n) of a key that stands at n must give True"
        assert await store.get("key") is None, "get() of a deleted key must give None"
        await _check_refused(store.delete("key", expect=version), version, 0)

    async def test_values_come_back_as_they_are(self, store: TokenStore) -> None:
        """Any bytes are stored as they are: none, all 256, not UTF-8, a megabyte."""
        for value in VALUES:
            await store.put("key", value)
            for found in (await get_entry(store, "key"), (await scan_all(store))["key"]):
                assert found.value == value, f"put {value[:300]!r}, got {found.value[:300]!r}"

    async def test_damage_is_not_absence(self, store: TokenStore, damage_entry: Damage) -> None:
        """A damaged entry is an error, never absent; its neighbours live, a put repairs it."""
        await store.put("damaged", b"value")
        other = ("other", await store.put("other", b"value"), b"value")
        await damage_entry("damaged")
        result = await result_of(store.get("damaged"))
        right = isinstance(result, CorruptRecord | DecryptionError) and "damaged" in str(result)
        kinds = "CorruptRecord or DecryptionError"
        assert right, f"get('damaged') must raise {kinds}, which names the key, not {result!r}"
        await check_entry(store, other, "a neighbour of a damaged entry was lost")
        found = await scan_all(store)
        assert found.get("other") == other, "scan() lost a neighbour of a damaged entry"
        assert "damaged" in found, "scan() must not leave out a damaged entry"
        check_unreadable(found["damaged"].value)
        version = await store.put("damaged", b"repaired")
        await check_entry(store, ("damaged", version, b"repaired"), "a put must repair it")

    async def test_hostile_keys_stay_apart(self, store: TokenStore) -> None:
        """Each key of the table holds its own value, and is deleted alone."""
        versions = await fill(store, KEYS)
        wrong = [k for k in KEYS if await store.get(k) != (k, versions[k], _value(k))]
        assert not wrong, f"these keys do not give back what was put under them: {wrong!a}"
        found = await scan_all(store)
        wrong = [k for k in KEYS if k not in found or found[k].value != _value(k)]
        assert not wrong, f"scan() lost or changed these keys: {wrong!a}"
        for key in KEYS[::2]:
            assert await store.delete(key) is True, f"delete({key!a}) did not find the key"
        wrong = sorted((await scan_all(store)).keys() ^ set(KEYS[1::2]))
        assert not wrong, f"after deleting every second key these are wrongly there: {wrong!a}"

    async def test_wrong_arguments(self, store: TokenStore) -> None:
        """An impossible key, value or version raises ValueError or TypeError; none writes."""
        await store.put("key", b"value")
        before = await scan_all(store)
        calls: list[tuple[Any, ...]] = []
        for key in ("", *TOO_LONG, *NOT_UTF8, None, 7, b"key"):
            calls += [(store.get, key), (store.put, key, b"value"), (store.delete, key)]
        calls += [(store.put, key, value) for key in ("key", "new") for value in ("text", None, 7)]
        for method, *arguments in calls:
            await _check_wrong_argument(method, *arguments)
        for expect in (-1, True, False, "1", 1.0):
            await _check_wrong_argument(store.put, "key", b"other", expect=expect)
            await _check_wrong_argument(store.delete, "key", expect=expect)
        assert await scan_all(store) == before, "a call with a wrong argument changed the store"

    async def test_prefixes_are_literal(self, store: TokenStore) -> None:
        """A scan gives exactly the keys that start with the prefix, whatever it holds."""
        await fill(store, KEYS)
        for prefix in {"", "zz", *KEYS, *(k[:1] for k in KEYS), *(k[:2] for k in KEYS)}:
            found = (await scan_all(store, prefix)).keys()
            right = {key for key in KEYS if key.startswith(prefix)}
            check_prefix(f"scan({prefix!a:.300})", found, right)
        for prefix in (*TOO_LONG, *NOT_UTF8):
            try:
                found = (await scan_all(store, prefix)).keys()
            except ValueError:
                continue
            assert not found, f"no key can start with {prefix!a:.300}, yet scan() found {found!a}"

    async def test_scan_of_many(self, store: TokenStore) -> None:
        """A scan of 2,500 entries is complete, and no key comes twice."""
        versions = await fill(store, [f"user:{number}" for number in range(MANY)])
        for prefix in ("user:", "user:1"):
            found = {key: entry.version for key, entry in (await scan_all(store, prefix)).items()}
            right = {key: version for key, version in versions.items() if key.startswith(prefix)}
            assert found == right, f"scan() gave {len(found)} of {len(right)}: a page lost?"

    async def test_scan_while_others_write(self, store: TokenStore) -> None:
        """An entry that does not change during a scan comes exactly once.

        Any other comes in a form that it had, or not at all.
        """
        still = [f"still:{number}" for number in range(MANY)]
        moving = [f"moving:{number}" for number in range(SOME)]
        await fill(store, [key for pair in zip_longest(moving, still) for key in pair if key])
        seen: list[Entry] = []
        async for entry in store.scan():
            check_parts(entry, Entry, "scan()")
            seen.append(entry)
            key = moving[len(seen) * 7 % SOME]
            match len(seen) % 24:
                case 0:
                    await store.put(key, b"changed")
                case 8:
                    await store.delete(key)
                case 16:
                    await store.put(f"added:{len(seen)}", b"changed")
        counts = Counter(entry.key for entry in seen)
        wrong = {key: counts[key] for key in still if counts[key] != 1}
        assert not wrong, f"entries that stood still must come exactly once in a scan: {wrong}"
        odd = [entry for entry in seen if entry.value not in (_value(entry.key), b"changed")]
        assert not odd, f"scan() gave values that were never written: {odd!r}"

    async def test_abandoned_scan_blocks_nothing(self, store: TokenStore) -> None:
        """A scan that is abandoned half-way blocks no write, no other scan and no close."""
        await fill(store, [f"user:{number}" for number in range(SOME)])
        left = [store.scan() for _ in range(3)]
        async with time_limit("put(), delete() and scan() return while scans are half-way"):
            for scan in left:
                await anext(scan)
            await store.put("user:1", b"changed")
            await store.delete("user:2")
            found = await scan_all(store)
        assert found["user:1"].value == b"changed", "a scan does not see a write that returned"
        assert "user:2" not in found, "a scan shows an entry whose delete had returned"
        async with time_limit("close() and open() return while a scan is half-way"):
            await store.close()
            await store.open()


async def _check_refused(call: Awaitable[object], expect: int, found: int) -> None:
    check_conflict(await result_of(call), "key", expect, found)


def check_unreadable(value: bytes | None) -> None:
    """Fail unless the value stands for a damaged one and says why."""
    error = getattr(value, "error", None)
    right = isinstance(value, Unreadable) and isinstance(error, CorruptRecord | DecryptionError)
    assert right, (
        "scans and feeds must give Unreadable(error) as the value of a damaged entry, the error "
        f"being a CorruptRecord or DecryptionError; not {value!r:.60} with {error!r}"
    )


def check_prefix(call: str, found: Set[str], right: Set[str]) -> None:
    """Fail unless the keys that were found are the right ones."""
    assert found == right, (
        f"{call} must give the keys that start with it, literally; "
        f"too many: {sorted(found - right)!a}, missing: {sorted(right - found)!a}"
    )


def _value(key: str) -> bytes:
    """A value that names its key."""
    return b"value of " + key.encode()


async def fill(store: TokenStore, keys: Iterable[str]) -> dict[str, int]:
    """Write all keys, some at a time; returns their versions."""
    waiting, versions = list(keys), dict[str, int]()
    while waiting:
        batch, waiting = waiting[:SOME], waiting[SOME:]
        done = await asyncio.gather(*(store.put(key, _value(key)) for key in batch))
        versions.update(zip(batch, done, strict=True))
    return versions


async def _check_wrong_argument(method: Any, *arguments: object, **named: object) -> None:  # noqa: ANN401
    """Fail unless the call raises what a wrong argument must raise."""
    result = await result_of(method(*arguments, **named))
    assert isinstance(result, ValueError | TypeError), (
        f"{method.__name__}({', '.join(map(ascii, arguments)):.300}, {named}) must raise "
        f"ValueError or TypeError, it gave {result!r}; check_key, check_value and check_expect of "
        "twitchvault.stores.base do so"
    )
