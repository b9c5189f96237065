"""Many keys: hostile ones, impossible ones, prefixes taken literally, scans."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from twitchvault.stores.base import MAX_KEY_BYTES, Entry
from twitchvault.testing.contract.support import (
    ContractFixtures,
    check_parts,
    scan_all,
    time_limit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twitchvault.stores.base import TokenStore

# fmt: off
HOSTILE: Final = (
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

KEYS: Final[tuple[str, ...]] = tuple(dict.fromkeys(HOSTILE))
TOO_LONG: Final = ("k" * (MAX_KEY_BYTES + 1), "\xe9" * (MAX_KEY_BYTES // 2) + "k")
NOT_UTF8: Final = ("\ud800", "a\udfffb")
MANY: Final = 2500
SOME: Final = 250


class Keys(ContractFixtures):
    """What holds between keys."""

    async def test_hostile_keys_are_kept_apart(self, store: TokenStore) -> None:
        """Each key of the table holds its own value, and is deleted alone."""
        versions = await _fill(store, KEYS)
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
        """What can be no key, value or version is a ValueError or TypeError; nothing happens."""
        await store.put("key", b"value")
        before = await scan_all(store)
        calls: list[tuple[Any, ...]] = []
        for key in ("", *TOO_LONG, *NOT_UTF8, None, 7, b"key"):
            calls += [(store.get, key), (store.put, key, b"value"), (store.delete, key)]
        calls += [(store.put, key, value) for key in ("key", "new") for value in ("text", None, 7)]
        for method, *arguments in calls:
            await _check_refused(method, *arguments)
        for expect in (-1, True, False, "1", 1.0):
            await _check_refused(store.put, "key", b"other", expect=expect)
            await _check_refused(store.delete, "key", expect=expect)
        assert await scan_all(store) == before, "a call with a wrong argument changed the store"

    async def test_prefixes_are_literal(self, store: TokenStore) -> None:
        """A scan gives the keys that start with the prefix, and no others, for any prefix."""
        await _fill(store, KEYS)
        for prefix in {"", "zz", *KEYS, *(k[:1] for k in KEYS), *(k[:2] for k in KEYS)}:
            found = (await scan_all(store, prefix)).keys()
            right = {key for key in KEYS if key.startswith(prefix)}
            assert found == right, (
                f"scan({prefix!a:.300}) must give the keys that start with it, literally; "
                f"too many: {sorted(found - right)!a}, missing: {sorted(right - found)!a}"
            )
        for prefix in (*TOO_LONG, *NOT_UTF8):
            try:
                found = (await scan_all(store, prefix)).keys()
            except ValueError:
                continue
            assert not found, f"no key can start with {prefix!a:.300}, yet scan() found {found!a}"

    async def test_scan_of_many(self, store: TokenStore) -> None:
        """A scan of 2,500 entries is complete, and no key comes twice."""
        versions = await _fill(store, [f"user:{number}" for number in range(MANY)])
        for prefix in ("user:", "user:1"):
            found = {key: entry.version for key, entry in (await scan_all(store, prefix)).items()}
            right = {key: version for key, version in versions.items() if key.startswith(prefix)}
            assert found == right, f"scan() gave {len(found)} of {len(right)}: a page lost?"

    async def test_scan_while_others_write(self, store: TokenStore) -> None:
        """Entries that stand still during a scan come exactly once; others in a form they had."""
        still = [f"still:{number}" for number in range(SOME)]
        moving = [f"moving:{number}" for number in range(SOME)]
        await _fill(store, [key for pair in zip(still, moving, strict=True) for key in pair])
        seen: list[Entry] = []
        async for entry in store.scan():
            check_parts(entry, Entry, "scan()")
            seen.append(entry)
            key = moving[len(seen) * 7 % SOME]
            match len(seen) % 12:
                case 0:
                    await store.put(key, b"changed")
                case 4:
                    await store.delete(key)
                case 8:
                    await store.put(f"added:{len(seen)}", b"changed")
        counts = Counter(entry.key for entry in seen)
        wrong = {key: counts[key] for key in still if counts[key] != 1}
        assert not wrong, f"entries that stood still must come exactly once in a scan: {wrong}"
        odd = [entry for entry in seen if entry.value not in (_value(entry.key), b"changed")]
        assert not odd, f"scan() gave values that were never written: {odd!r}"

    async def test_abandoned_scan_blocks_nothing(self, store: TokenStore) -> None:
        """A scan that was begun and left does not hold up writes, scans or close."""
        await _fill(store, [f"user:{number}" for number in range(SOME)])
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


def _value(key: str) -> bytes:
    """A value that tells its key."""
    return b"value of " + key.encode()


async def _fill(store: TokenStore, keys: Iterable[str]) -> dict[str, int]:
    """Write all keys, some at a time; their versions."""
    waiting, versions = list(keys), dict[str, int]()
    while waiting:
        batch, waiting = waiting[:SOME], waiting[SOME:]
        done = await asyncio.gather(*(store.put(key, _value(key)) for key in batch))
        versions.update(zip(batch, done, strict=True))
    return versions


async def _check_refused(method: Any, *arguments: object, **named: object) -> None:  # noqa: ANN401
    """Fail unless the call raises what a wrong argument must raise."""
    try:
        await method(*arguments, **named)
    except (ValueError, TypeError):
        return
    call = f"{method.__name__}({', '.join(map(ascii, arguments)):.300}, {named})"
    pytest.fail(f"{call} must raise ValueError or TypeError")
