"""`FernetStore`, and the feed of its changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from twitchvault.errors import StoreError, WrongType, WrongValue, scrub_traceback
from twitchvault.stores.base import (
    CLOSED,
    ENCRYPTION_CHECK_KEY,
    NOT_OPEN,
    Change,
    Entry,
    Feed,
    TokenStore,
    Unreadable,
    Watchable,
    check_arguments,
)
from twitchvault.stores.fernet import rotation
from twitchvault.stores.fernet.cipher import EntryCipher
from twitchvault.stores.url import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twitchvault.stores.fernet.keys import Keys, KeysCallable

__all__ = ["FernetStore"]

_REPLACED: Final = "the store was emptied or replaced while it was open: close it and open it again"


class FernetStore(TokenStore):
    """For tokens that nobody may read without a key: encrypts what any other store keeps.

    It is `Watchable` if `inner` is.
    `inner` is a `TokenStore` or a URL as `open_store` takes it. `keys` is a Fernet key (`str` or
    `bytes`) or a list or tuple of them: the first encrypts, all decrypt. Or a callable without
    arguments that returns them within 30 s, plainly (it is then called in a thread) or as an
    awaitable; `open` and `rotate` ask it.

    An entry that was moved to another key or store, damaged, left in plaintext or encrypted under
    another key is a `DecryptionError` in `get`, an `Unreadable` in `scan` and feeds, and is left as
    it is until it is written or deleted. Keys, sizes and times are not hidden.

    What are no keys is a `TypeError` or `ValueError`; a callable that fails, `StoreUnavailable`.
    """

    @scrub_traceback
    def __init__(self, inner: TokenStore | str, keys: Keys | KeysCallable) -> None:
        from twitchvault.stores.fernet.keys import KeyRing, load  # noqa: PLC0415 - the driver

        self._load_keys = partial(load, keys if callable(keys) else KeyRing(keys))
        self._inner = open_store(inner) if isinstance(inner, str) else inner
        if not isinstance(self._inner, TokenStore):
            msg = f"'inner' must be a TokenStore or a URL, not {type(inner).__name__}"
            raise WrongType(msg)
        self._cipher: EntryCipher | None = None
        self._refusal = NOT_OPEN
        self.pushes_changes = bool(getattr(self._inner, "pushes_changes", False))
        if isinstance(self._inner, Watchable):
            # Of the object, not of the class: that is what isinstance(store, Watchable) looks at.
            self.watch = self._watch

    def __repr__(self) -> str:
        return f"FernetStore({self._inner!r})"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a FernetStore holds keys and cannot be pickled or copied: make another")

    @scrub_traceback
    async def open(self) -> None:
        """Open the inner store; idempotent. An empty store becomes an encrypted one.

        `DecryptionError`, before anything is written, if the keys are not those of its entries, or
        if it holds entries in plaintext: see `encrypt_existing`.
        """
        if self._cipher:
            await self._inner.open()
        else:
            self._cipher = await self._unlock(rotation.open_or_create)

    async def close(self) -> None:
        """Close the inner store, also after `open` failed; idempotent."""
        if self._cipher:
            self._cipher, self._refusal = None, CLOSED
        await self._inner.close()

    @scrub_traceback
    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None; `DecryptionError` if it cannot be decrypted."""
        check_arguments(key)
        cipher = self._opened()
        entry = None if key == ENCRYPTION_CHECK_KEY else await self._inner.get(key)
        if entry is None:
            return None
        value = cipher.decrypt(key, entry.value)
        if isinstance(value, Unreadable):
            raise value.error
        return Entry(key, entry.version, value)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Encrypt `value` under the first key and write it; its new version."""
        check_arguments(key, value, expect)
        _refuse_check_entry(key)
        return await self._inner.put(key, self._opened().encrypt(key, value), expect=expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`, also if it cannot be decrypted; True if it was there."""
        check_arguments(key, expect=expect)
        _refuse_check_entry(key)
        self._opened()
        return await self._inner.delete(key, expect=expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`; other tasks run in between."""
        decrypt = self._opened().decrypt
        async with aclosing(rotation.in_batches(self._inner, prefix)) as batches:
            async for batch in batches:
                # All before the reader has the first: in between with its work each costs more.
                for entry in [Entry(key, version, decrypt(key, t)) for key, version, t in batch]:
                    yield entry

    @scrub_traceback
    async def rotate(self) -> rotation.EncryptionReport:
        """Bring all entries under the first key, while any process reads and writes.

        Before: give every process the new key as the second one, and when all have it, as the
        first. May be broken off anywhere and called again.
        """
        cipher = self._opened()
        renewed = await self._unlock(rotation.read)
        if renewed.store_id != cipher.store_id:
            raise StoreError(_REPLACED)
        cipher.key_ring = renewed.key_ring
        return await rotation.rotate(self._inner, cipher)

    @scrub_traceback
    async def encrypt_existing(self) -> rotation.EncryptionReport:
        """Encrypt what stands in plaintext in the inner store; once, when encryption begins.

        In place of `open`, or later; the store is open then. Before, end the programs that use the
        store without encryption. May be broken off anywhere and called again; until it is through,
        `open` refuses the store. If something is encrypted with other keys already, it raises
        `DecryptionError` and has written nothing.
        """
        cipher = self._cipher or await self._unlock(rotation.begin_encrypting)
        report = await rotation.encrypt_plaintext(self._inner, cipher)
        self._cipher = cipher
        return report

    @asynccontextmanager
    async def _watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the changes of all keys that start with `prefix`."""
        cipher = self._opened()
        assert isinstance(self._inner, Watchable)
        async with self._inner.watch(prefix) as inner:
            yield _FernetFeed(cipher, inner)

    async def _unlock(
        self, read: Callable[..., Awaitable[rotation.CheckEntry | None]]
    ) -> EntryCipher:
        key_ring = await self._load_keys()
        await self._inner.open()
        check = await read(self._inner, key_ring)
        if check is None:
            raise StoreError(_REPLACED)
        return EntryCipher(key_ring, check.store_id)

    def _opened(self) -> EntryCipher:
        if self._cipher:
            return self._cipher
        raise StoreError(f"this FernetStore {self._refusal}")


class _FernetFeed(Feed):
    """Keeps changes until they are handed out, so a cancelled call loses none."""

    on_loss: Callable[[Callable[[], None]], None]

    def __init__(self, cipher: EntryCipher, inner: Feed) -> None:
        self._cipher = cipher
        self._inner = inner
        self._encrypted: list[Change] = []
        self._decrypted: list[Change] = []
        if on_loss := getattr(inner, "on_loss", None):
            self.on_loss = on_loss

    async def wait(self) -> list[Change]:
        while not (changes := await self._take_in_batches()):
            self._encrypted += await self._inner.wait()
        return changes

    def drain(self) -> list[Change]:
        self._encrypted += self._inner.drain()
        return self._take()

    async def catch_up(self) -> list[Change]:
        self._encrypted += await self._inner.catch_up()
        return await self._take_in_batches()

    async def _take_in_batches(self) -> list[Change]:
        while len(self._encrypted) > rotation.BATCH:
            self._decrypt(rotation.BATCH)
            await asyncio.sleep(0)
        return self._take()

    def _take(self) -> list[Change]:
        self._decrypt(len(self._encrypted))
        changes, self._decrypted = self._decrypted, []
        return changes

    def _decrypt(self, count: int) -> None:
        for key, version, token in self._encrypted[:count]:
            if key != ENCRYPTION_CHECK_KEY:
                value = None if token is None else self._cipher.decrypt(key, token)
                self._decrypted.append(Change(key, version, value))
        del self._encrypted[:count]


def _refuse_check_entry(key: str) -> None:
    if key == ENCRYPTION_CHECK_KEY:
        msg = f"'key' must not be {key!r}: a FernetStore keeps its key check entry there"
        raise WrongValue(msg)
