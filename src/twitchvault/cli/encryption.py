"""What `keys rotate` and `encrypt` share: a store's entries rewritten, with a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from twitchvault.cli.console import FAILED, fail, progress, say, say_json, warn
from twitchvault.cli.store import store_name
from twitchvault.environment import encrypted
from twitchvault.stores import FernetStore
from twitchvault.stores.base import TokenStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from twitchvault.cli.options import StoreOptions
    from twitchvault.environment import Keys
    from twitchvault.stores import Entry
    from twitchvault.stores.fernet.rotation import EncryptionReport

__all__ = ["required_keys", "rewrite"]


class _Counted(TokenStore):
    """The entries of another store; each write takes a step of a progress bar."""

    def __init__(self, inner: TokenStore, step: Callable[[], None]) -> None:
        self._inner = inner
        self._step = step

    async def get(self, key: str) -> Entry | None:
        return await self._inner.get(key)

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        version = await self._inner.put(key, value, expect=expect)
        self._step()
        return version

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        return await self._inner.delete(key, expect=expect)

    def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        return self._inner.scan(prefix)


def required_keys(keys: Keys | None) -> Keys:
    """The keys, without which the command cannot work."""
    if keys is None:
        fail("name the file with the keys by --key-file, or set TWITCHVAULT_KEYS")
    return keys


async def rewrite(
    text: str,
    inner: TokenStore,
    options: StoreOptions,
    json: bool,
    work: Callable[[FernetStore], Awaitable[EncryptionReport]],
) -> None:
    """Let a `FernetStore` over an open store do its work, and say how the store stands then.

    Broken off anywhere, it can be done again.
    """
    total = len([entry.key async for entry in inner.scan()])
    with progress(text, total) as step:
        store = encrypted(_Counted(inner, step), required_keys(options.keys))
        assert isinstance(store, FernetStore)
        report = await work(store)
    if json:
        counts = {"rewritten": report.rewritten, "by_key": dict(report.by_key)}
        say_json({"store": store_name(options), **counts, "left": list(report.left)})
    else:
        say(str(report))
        if len(report.by_key) > 1:
            names = enumerate(report.by_key, 1)
            warn(f"By position: {', '.join(f'key {place} is {name}' for place, name in names)}.")
    if report.left:
        warn(
            f"twitchvault: left as they are, for no key decrypts them: {', '.join(report.left)}. "
            "Add the key that they were encrypted with, or remove those users"
        )
        raise typer.Exit(FAILED)
