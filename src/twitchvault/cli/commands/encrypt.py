"""`twitchvault encrypt`."""

from __future__ import annotations

from typing import Final

from twitchvault.cli.commands.keys import required_keys, rewrite
from twitchvault.cli.console import warn
from twitchvault.cli.options import Json, KeyFile, StoreOptions, StoreUrl
from twitchvault.cli.store import opened_store
from twitchvault.stores import FernetStore
from twitchvault.stores.base import is_encrypted

_STOP: Final = "Stop every program that uses the store now, and start it with the keys afterwards."


async def command(store: StoreUrl = None, key_file: KeyFile = None, json: Json = False) -> None:
    """Encrypt a store that is in plaintext; stop the bots before."""
    options = StoreOptions(store=store, key_file=key_file)
    required_keys(options.keys)
    async with opened_store(options, raw=True) as inner:
        plain = [entry.key async for entry in inner.scan() if not is_encrypted(entry.value)]
        warn(_STOP if plain else "Nothing in the store is in plaintext.")
        await rewrite("Encrypting", inner, options, json, FernetStore.encrypt_existing)
    if plain:
        warn("Old backups, and unused parts of the disk, may still hold tokens in plaintext.")
