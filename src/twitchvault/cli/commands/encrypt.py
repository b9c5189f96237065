"""`twitchvault encrypt`."""

from __future__ import annotations

from twitchvault.cli.console import warn
from twitchvault.cli.encryption import required_keys, rewrite
from twitchvault.cli.options import KeyFile, StoreOptions, StoreUrl
from twitchvault.cli.store import opened_store

__all__ = ["command"]


async def command(store: StoreUrl = None, key_file: KeyFile = None) -> None:
    """Encrypt a store that is in plaintext; stop the bots before."""
    options = StoreOptions(store=store, key_file=key_file)
    keys = required_keys(options.keys)
    warn("Stop every program that uses the store now, and start it with the keys afterwards.")
    async with opened_store(options, raw=True) as inner:
        await rewrite("Encrypting", inner, keys, lambda fernet: fernet.encrypt_existing())
    warn("Old backups, and unused parts of the disk, may still hold tokens in plaintext.")
