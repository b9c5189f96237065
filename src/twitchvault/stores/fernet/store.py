"""`FernetStore`: which operation is allowed when; the work is done in the modules beside it."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from twitchvault.errors import StoreError, StoreUnavailable, discreet
from twitchvault.stores.base import Entry, TokenStore, Unreadable, Watchable, check_key, check_value
from twitchvault.stores.fernet.check import unlock, unlock_plaintext
from twitchvault.stores.fernet.feed import feed_over
from twitchvault.stores.fernet.rewrite import encrypt_plaintext, rotate
from twitchvault.stores.fernet.seal import RESERVED
from twitchvault.stores.fernet.session import Session
from twitchvault.stores.fernet.source import KeySource
from twitchvault.stores.fernet.walk import walk
from twitchvault.stores.pages import Page, in_larger_pages
from twitchvault.stores.url import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from twitchvault.stores.base import Feed
    from twitchvault.stores.fernet.check import Check
    from twitchvault.stores.fernet.keys import Given, Ring
    from twitchvault.stores.fernet.rewrite import EncryptionReport

__all__ = ["FernetStore"]


class FernetStore(TokenStore):
    """The entries of any store, encrypted: whoever holds its file or dump holds nothing of use.

    `inner` is a `TokenStore` or a URL as `open_store` takes it. `keys` is a Fernet key or several
    (`str`, `bytes`, `Fernet`, `MultiFernet`): the first encrypts, all decrypt. Or a callable
    without arguments that returns them, plainly (it is then called in a thread) or as an awaitable,
    within 30 s; it is asked by `open` and `rotate`, and again, at most once a second, when some
    entry is opened by none of the keys.

    Every ciphertext is bound to its store and its key's name. An entry that was moved, damaged,
    left in plaintext or encrypted under another key is a `DecryptionError` in `get`, an
    `Unreadable` in `scan` and feeds, and is left as it is until it is written or deleted. Names of
    keys, sizes and times are not hidden.

    It is `Watchable` if `inner` is; its feeds push if the inner ones do. The key
    "twitchvault/fernet" is its own: `ValueError` for a caller that wants it.

    `open` and `close` go to the inner store. If `open` fails, an inner store that was made from a
    URL is closed; one of yours is left as it is. Errors: `TypeError` or `ValueError` for what are
    no keys, `StoreUnavailable` if the callable fails, `MissingDriver`, and the inner store's own.
    """

    @discreet
    def __init__(self, inner: TokenStore | str, keys: Given) -> None:
        self._source = KeySource(keys)
        self._inner = _checked(inner)
        self._owned = isinstance(inner, str)
        self._session: Session | None = None
        self._openings = 0
        self._closings = 0
        if isinstance(self._inner, Watchable):
            # Of the object, not of the class: that is what isinstance(store, Watchable) looks at.
            self.watch = self._watch

    def __repr__(self) -> str:
        return f"FernetStore({self._inner!r})"

    def __reduce_ex__(self, _: object) -> NoReturn:
        msg = "a FernetStore cannot be pickled or copied, it holds keys: make another one from the "
        msg += "same inner store and keys"
        raise TypeError(msg)

    @discreet
    async def open(self) -> None:
        """Open the inner store and see whether the keys are those of its entries; idempotent.

        `DecryptionError`, before anything is written, if they are not, or if the store holds
        entries in plaintext: see `encrypt_existing`. An empty store becomes an encrypted one.
        """
        if self._session:
            await self._inner.open()
        else:
            async with self._opening():
                self._session = await self._begin(unlock)

    async def close(self) -> None:
        """Close the inner store; idempotent. What was stored stays stored."""
        self._session = None
        self._closings += 1
        await self._inner.close()

    @discreet
    async def get(self, key: str) -> Entry | None:
        """The entry of `key`, or None; `DecryptionError` if there is one that does not open."""
        check_key(key)
        session = self._opened()
        entry = None if key == RESERVED else await self._inner.get(key)
        if entry is None:
            return None
        value = session.seal.open(key, entry.value)
        if value is None:
            await session.renew()
            value = session.open_late(key, entry.value)
        if isinstance(value, Unreadable):
            raise value.error
        return Entry(key, entry.version, value)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Encrypt `value` under the first key and write it; its new version."""
        _check(key)
        check_value(value)
        token = self._opened().seal.close(key, value)
        return await self._inner.put(key, token, expect=expect)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`, also if it does not open; True if it was there."""
        _check(key)
        self._opened()
        return await self._inner.delete(key, expect=expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`; decrypted a few milliseconds at a stretch.

        Those that do not open have an `Unreadable` for their value.
        """
        async with aclosing(self.scan_pages(prefix)) as pages:
            async for page in pages:
                for entry in page:
                    yield entry

    async def scan_pages(self, prefix: str = "") -> AsyncGenerator[Page, None]:
        """As `scan`, some entries at a time."""
        session = self._opened()
        shut: list[Entry] = []
        async with (
            aclosing(walk(self._inner, prefix)) as pieces,
            aclosing(in_larger_pages(session.seal.open_pages(pieces, shut))) as pages,
        ):
            async for page in pages:
                yield page
        if shut:
            with suppress(StoreUnavailable):
                await session.renew()
            yield Page.of(
                [Entry(key, version, session.open_late(key, token)) for key, version, token in shut]
            )

    @discreet
    async def rotate(self) -> EncryptionReport:
        """Bring all entries under the first key, while any process reads and writes.

        May be broken off at any point and called again. The report says whether the other keys can
        be dropped; before that, every process must have the new key first. Entries that do not open
        are left as they are and named. Errors: as `open`.
        """
        return await rotate(self._opened())

    @discreet
    async def encrypt_existing(self) -> EncryptionReport:
        """Encrypt what stands in plaintext in the inner store; once, when encryption begins.

        In place of `open`, or later; the store is open then. End the programs that use the store
        without encryption before. It may be broken off at any point and called again, and until it
        is through, `open` refuses the store. It trusts what it finds in plaintext. If the store is
        no `FernetStore`'s yet and something in it is encrypted already, or if it is another key's,
        it raises `DecryptionError` and has written nothing.

        What is gone from the store may still stand in unused parts of its file, in its log, and in
        backups.
        """
        if self._session:
            return await encrypt_plaintext(self._session)
        async with self._opening():
            session = await self._begin(unlock_plaintext)
            report = await encrypt_plaintext(session)
            self._session = session
        return report

    @asynccontextmanager
    async def _watch(self, prefix: str = "") -> AsyncIterator[Feed]:
        """A feed of the changes of all keys that start with `prefix`."""
        session = self._opened()
        assert isinstance(self._inner, Watchable)
        async with self._inner.watch(prefix) as inner:
            feed = feed_over(session, inner)
            try:
                yield feed
            finally:
                feed.end()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        """After a failure an inner store of our own is closed, unless it is wanted elsewhere."""
        closings = self._closings
        self._openings += 1
        try:
            yield
            if closings != self._closings:
                self._session = None
                msg = "the store was closed while it was being opened"
                raise StoreError(msg)
        finally:
            self._openings -= 1
            if self._owned and not self._session and not self._openings:
                await self._inner.close()

    async def _begin(self, unlock: Callable[[TokenStore, Ring], Awaitable[Check]]) -> Session:
        return await Session.open(self._inner, self._source, unlock)

    def _opened(self) -> Session:
        if self._session:
            return self._session
        state = "is closed" if self._closings else "is not open yet"
        msg = f"this FernetStore {state}: call 'await store.open()' first"
        raise StoreError(msg)


def _check(key: str) -> None:
    check_key(key)
    if key == RESERVED:
        msg = f"'key' must not be {RESERVED!r}: a FernetStore keeps its key check entry there"
        raise ValueError(msg)


def _checked(inner: TokenStore | str) -> TokenStore:
    store = open_store(inner) if isinstance(inner, str) else inner
    if isinstance(store, FernetStore):
        msg = "'inner' is a FernetStore: what it holds is encrypted already"
        raise TypeError(msg)
    if not isinstance(store, TokenStore):
        msg = f"'inner' must be a TokenStore or a URL, not {type(inner).__name__}"
        raise TypeError(msg)
    return store
