"""Many keys: hostile ones, impossible ones, prefixes taken literally, scans."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from twitchvault.stores.base import MAX_KEY_BYTES
from twitchvault.stores.pages import Paged
from twitchvault.testing.contract.kit import PROMPT, Kit, check_entry, content, held, rule, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from twitchvault.stores.base import Entry, TokenStore

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
IMPOSSIBLE: Final[tuple[object, ...]] = (
    "",
    "k" * (MAX_KEY_BYTES + 1),
    "\xe9" * (MAX_KEY_BYTES // 2) + "k",
    "\ud800",
    "a\udfffb",
    None,
    7,
    b"key",
)
MANY: Final = 2500
BATCH: Final = 250
SOME: Final = 300


class Keys(Kit):
    """What holds between keys."""

    @rule()
    async def test_hostile_keys_are_kept_apart(self, store: TokenStore) -> None:
        """Each key of the table holds its own value, in get and in scan."""
        versions = await _fill(store, KEYS)
        mixed = [k for k in KEYS if await store.get(k) != (k, versions[k], _value(k))]
        assert not mixed, f"these keys do not give back what was put under them: {mixed!a}"
        scanned = {entry.key: entry.value for entry in (await content(store)).values()}
        assert scanned == {key: _value(key) for key in KEYS}, (
            f"scan() lost or changed these keys: {_differing(scanned)!a}"
        )

    @rule()
    async def test_hostile_keys_are_deleted_alone(self, store: TokenStore) -> None:
        """Deleting one key leaves all the others."""
        await _fill(store, KEYS)
        left = list(KEYS)
        for key in KEYS[::2]:
            assert await store.delete(key) is True, f"delete({key!a}) did not find the key"
            left.remove(key)
        found = await content(store)
        assert found.keys() == set(left), (
            f"after deleting every second key these are wrongly there or gone: "
            f"{sorted(found.keys() ^ set(left))!a}"
        )

    @rule()
    async def test_impossible_keys(self, store: TokenStore) -> None:
        """Empty, too long, not UTF-8 or no str: ValueError or TypeError, and nothing happens."""
        await store.put("key", b"value")
        before = await content(store)
        for key in IMPOSSIBLE:
            for method in ("get", "put", "delete"):
                assert await _refuses(store, method, key), (
                    f"{method}() of the key {_shown(key)} must raise ValueError or TypeError"
                )
        assert await content(store) == before, "a call with an impossible key changed the store"

    @rule()
    async def test_prefixes_are_literal(self, store: TokenStore) -> None:
        """A scan gives the keys that start with the prefix, and no others, for any prefix."""
        await _fill(store, KEYS)
        prefixes = dict.fromkeys(["", *KEYS, *(k[:1] for k in KEYS), *(k[:2] for k in KEYS), "zz"])
        for prefix in prefixes:
            found = (await content(store, prefix)).keys()
            right = {key for key in KEYS if key.startswith(prefix)}
            assert found == right, (
                f"scan({_shown(prefix)}) must give the keys that start with it, literally; "
                f"too many: {sorted(found - right)!a}, missing: {sorted(right - found)!a}"
            )

    @rule()
    async def test_prefix_that_no_key_can_have(self, store: TokenStore) -> None:
        """A prefix longer than a key, or not UTF-8, finds nothing or is a ValueError."""
        await store.put("k" * MAX_KEY_BYTES, b"value")
        for prefix in ("k" * (MAX_KEY_BYTES + 1), "\ud800", "k\udfff"):
            try:
                found = await content(store, prefix)
            except ValueError:
                continue
            assert not found, f"scan({_shown(prefix)}) found {len(found)} keys; none starts with it"

    @rule()
    async def test_scan_of_many(self, store: TokenStore) -> None:
        """A scan of 2,500 entries is complete, and no key comes twice."""
        keys = [f"user:{number}" for number in range(MANY)]
        versions = await _fill(store, keys)
        found = await content(store, "user:")
        assert {key: entry.version for key, entry in found.items()} == versions, (
            f"scan() gave {len(found)} of {MANY} entries, or wrong versions: a page lost?"
        )
        tenth = await content(store, "user:1")
        assert tenth.keys() == {key for key in keys if key.startswith("user:1")}, (
            "scan() of a part of many entries is not complete"
        )
        if isinstance(store, Paged):
            paged = [entry async for page in store.scan_pages("user:") for entry in page]
            assert sorted(paged) == sorted(found.values()), (
                "scan_pages() must give what scan() does"
            )

    @rule()
    async def test_scan_while_others_write(self, store: TokenStore) -> None:
        """Entries that stand still during a scan come exactly once; others in a form they had."""
        still = [f"still:{number}" for number in range(SOME)]
        moving = [f"moving:{number}" for number in range(SOME)]
        await _fill(store, [key for pair in zip(still, moving, strict=True) for key in pair])
        seen: list[Entry] = []
        async for entry in store.scan():
            check_entry(entry, "scan()")
            seen.append(entry)
            await _disturb(store, moving, len(seen))
        counts = Counter(entry.key for entry in seen)
        assert [counts[key] for key in still] == [1] * SOME, (
            f"while others were written, of {SOME} entries that stood still these did not come "
            f"exactly once in the scan: { {k: counts[k] for k in still if counts[k] != 1} }"
        )
        odd = [e for e in seen if e.value not in (_value(e.key), b"changed", b"new")]
        assert not odd, f"scan() gave values that were never written: {odd!r}"

    @rule()
    async def test_abandoned_scan_blocks_nothing(self, store: TokenStore) -> None:
        """A scan that was begun and left does not hold up writes, scans or close."""
        await _fill(store, [f"user:{number}" for number in range(SOME)])
        left = [store.scan() for _ in range(3)]
        for scan in left:
            await _step(scan)
        async with within(PROMPT, "put(), delete() and scan() return while a scan is half-way"):
            await store.put("user:1", b"changed")
            await store.delete("user:2")
            found = await content(store)
        assert found["user:1"].value == b"changed", "a scan does not see a write that returned"
        assert "user:2" not in found, "a scan shows an entry whose delete had returned"
        async with within(PROMPT, "close() and open() return while a scan is half-way"):
            await store.close()
            await store.open()
        assert (await held(store, "user:1")).value == b"changed", "lost by close() in a scan"


def _value(key: str) -> bytes:
    """A value that tells its key."""
    return b"value of " + key.encode()


async def _fill(store: TokenStore, keys: Iterable[str]) -> dict[str, int]:
    """Write all keys, some at a time; their versions."""
    waiting = list(keys)
    versions: dict[str, int] = {}
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        done = await asyncio.gather(*(store.put(key, _value(key)) for key in batch))
        versions.update(zip(batch, done, strict=True))
    return versions


async def _disturb(store: TokenStore, moving: list[str], step: int) -> None:
    """Change something that the scan of the test does not count."""
    key = moving[step * 7 % len(moving)]
    match step % 12:
        case 0:
            await store.put(key, b"changed")
        case 4:
            await store.delete(key)
        case 8:
            await store.put(f"added:{step}", b"new")


async def _step(scan: AsyncIterator[Entry]) -> None:
    """Take one entry."""
    async with within(PROMPT, "scan() gives its first entry, also while other scans are half-way"):
        await anext(scan)


async def _refuses(store: TokenStore, method: str, key: object) -> bool:
    """Whether the method raises what a wrong argument must raise."""
    value = (b"value",) if method == "put" else ()
    try:
        await getattr(store, method)(key, *value)
    except (ValueError, TypeError):
        return True
    return False


def _shown(key: object) -> str:
    """The key, or its beginning."""
    shown = ascii(key)
    return shown if len(shown) <= BATCH else f"{shown[:40]}… ({len(shown)} characters)"


def _differing(scanned: dict[str, bytes]) -> list[str]:
    """The keys of the table that a scan did not give as they were put."""
    return [key for key in KEYS if scanned.get(key) != _value(key)]
