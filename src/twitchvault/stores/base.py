"""The interface of a token store: a durable, versioned map from a key to opaque bytes.

To write one of your own, inherit from `TokenStore` and give it `get`, `put`, `delete` and `scan`;
`twitchvault.testing.StoreContract` tells whether it is right.

A version is a positive integer. Every write or delete takes a larger one than any before it in that
store, also after a delete, so a version never stands for two different values.

Absent is `None` from `get` and `False` from `delete`. Unreadable is never absent: a store that
finds something it cannot read raises `CorruptRecord` or `DecryptionError`. A backend that cannot be
reached raises `StoreUnavailable`. A store that was never opened or is closed raises `StoreError`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, runtime_checkable

from twitchvault.errors import DecryptionError, MissingDriver, WrongType, WrongValue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from twitchvault.errors import StoreError

__all__ = [
    "ENCRYPTION_CHECK_KEY",
    "MAX_KEY_BYTES",
    "Change",
    "Entry",
    "Feed",
    "TokenStore",
    "Unreadable",
    "Watchable",
    "check_arguments",
    "check_expect",
    "check_key",
    "check_not_encrypted",
    "check_value",
    "is_encrypted",
    "missing_driver",
]

MAX_KEY_BYTES: Final = 512

NOT_OPEN: Final = "is not open yet: call 'await store.open()' first"
CLOSED: Final = "is closed: call 'await store.open()' to use it again"

ENCRYPTION_CHECK_KEY: Final = "twitchvault/fernet"
"""Where a `FernetStore` keeps its check entry. No other entry has this key."""


class Unreadable(bytes):
    """The value of an entry in a scan or a feed that is there but cannot be read.

    It holds no bytes; `error` is what `get` raises for this key.
    """

    error: StoreError

    def __new__(cls, error: StoreError) -> Self:  # noqa: D102  (the class docstring says it)
        self = super().__new__(cls)
        self.error = error
        return self


class Entry(NamedTuple):
    """What a store keeps for one key."""

    key: str
    version: int
    value: bytes

    def __repr__(self) -> str:
        return f"Entry(key={self.key!r}, version={self.version}, value=<{len(self.value)} bytes>)"


class Change(NamedTuple):
    """A write or, when `value` is None, a delete of one key."""

    key: str
    version: int
    value: bytes | None

    def __repr__(self) -> str:
        value = "deleted" if self.value is None else f"<{len(self.value)} bytes>"
        return f"Change(key={self.key!r}, version={self.version}, value={value})"


@runtime_checkable
class TokenStore(Protocol):
    """A durable, versioned map from a key to bytes, shared by all who open it."""

    async def open(self) -> None:
        """Make the store usable; idempotent, also after `close`. Errors: any `StoreError`."""
        return  # a body: without one type checkers take the method for abstract

    async def close(self) -> None:
        """Release what `open` took; idempotent, bounded in time. What was stored stays stored."""
        return

    @abstractmethod
    async def get(self, key: str) -> Entry | None:
        """The entry of `key` as last committed by any process, or None if there is none."""
        ...

    @abstractmethod
    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """Write `value` and return its new version; durable when it returns.

        `expect=None` writes unconditionally, `expect=0` only if the key is absent, `expect=n` only
        if it stands at version n; otherwise `VersionConflict`, and nothing is written. The check
        and the write are one atomic step between all processes.
        """
        ...

    @abstractmethod
    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove `key`; True if it was there. Durable when it returns.

        With `expect`, as for `put`: a key that does not stand at that version is a
        `VersionConflict`, an absent one too (found 0); `expect=0` on an absent key is False.
        """
        ...

    @abstractmethod
    def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """All entries whose key starts with `prefix`, literally, in no set order.

        An entry that stands unchanged during the whole scan comes exactly once; one that is written
        or deleted meanwhile may come in its old or new form or not at all.
        """
        ...


class Feed(Protocol):
    """The changes of a watched store, from the moment its context was entered.

    No committed change is missed, other processes' included. Changes of one key come in version
    order; intermediate versions may be skipped; a change may come twice. A broken connection is
    taken up where it broke, or followed by a rescan: the reader sees only a delay. One reader at
    a time: a change handed out by one method does not come again from another.

    A feed of a server that may come back without its newest data can also have
    `on_loss(listener)`: from then on it calls `listener()`, on the loop's thread, when committed
    writes were lost. It reports none of them as deleted, and every later version is larger.
    """

    async def wait(self) -> list[Change]:
        """At least one change, as soon as there is one."""
        ...

    def drain(self) -> list[Change]:
        """What can be known now, without waiting on a network; may be empty."""
        ...

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call and not handed out yet; may be empty.

        Raises `StoreUnavailable` if that cannot be found out.
        """
        ...


@runtime_checkable
class Watchable(Protocol):
    """An extra ability of a store: it tells what changes.

    Such a store may set the attribute `pushes_changes` to True: `wait` of its feeds returns as soon
    as a change can be known, so a reader of a view need not ask `drain` first.
    """

    def watch(self, prefix: str = "") -> AbstractAsyncContextManager[Feed]:
        """A feed of the changes of all keys that start with `prefix`."""
        ...


def missing_driver(store: str, package: str, extra: str) -> MissingDriver:
    """The error that says what to install."""
    return MissingDriver(
        f"{store} needs the package {package!r}: pip install 'twitchvault[{extra}]'"
    )


def is_encrypted(value: bytes) -> bool:
    """Whether a value looks like a Fernet token, whatever its key."""
    return value.startswith(b"gAAAAA")  # 0x80 and four zero bytes of the time, until 2106


async def check_not_encrypted(store: TokenStore) -> None:
    """Raise `DecryptionError` if a `FernetStore` has encrypted what this open store holds."""
    if await store.get(ENCRYPTION_CHECK_KEY) is not None:
        msg = "this store is encrypted: open it through FernetStore(store, keys), with the keys "
        msg += "that it was encrypted with, or set TWITCHVAULT_KEYS for App.from_env()"
        raise DecryptionError(msg)


def check_arguments(key: str, value: bytes = b"", expect: int | None = None) -> None:
    """Raise `TypeError` or `ValueError` unless a store can be called with these."""
    check_key(key)
    check_value(value)
    check_expect(expect)


def check_key(key: str, name: str = "key") -> None:
    """Raise `ValueError` unless `key` is a non-empty string of at most 512 bytes in UTF-8."""
    if not isinstance(key, str):
        raise WrongType(f"{name!r} must be a str, not {type(key).__name__}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        msg = f"{name!r} must be encodable as UTF-8; it holds a lone surrogate"
        raise WrongValue(msg) from None
    if not 0 < size <= MAX_KEY_BYTES:
        msg = f"{name!r} must have 1 to {MAX_KEY_BYTES} bytes in UTF-8, this one has {size}"
        raise WrongValue(msg)


def check_value(value: bytes) -> None:
    """Raise `TypeError` unless `value` is bytes."""
    if not isinstance(value, bytes):
        raise WrongType(f"'value' must be bytes, not {type(value).__name__}")


def check_expect(expect: int | None) -> None:
    """Raise unless `expect` is None or a version, or 0 for 'absent'."""
    if isinstance(expect, bool) or not isinstance(expect, int | None):
        raise WrongType(f"'expect' must be None or an int, not {type(expect).__name__}")
    if expect is not None and expect < 0:
        raise WrongValue(f"'expect' must be None, 0 (absent) or a version, not {expect}")
