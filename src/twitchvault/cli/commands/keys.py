"""`twitchvault keys new` and `twitchvault keys rotate`."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from twitchvault.cli.console import fail, say, warn
from twitchvault.cli.encryption import required_keys, rewrite
from twitchvault.cli.options import Json, KeyFile, StoreOptions, StoreUrl, as_command
from twitchvault.cli.store import opened_store, store_name
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY, missing_driver

if TYPE_CHECKING:
    from twitchvault.stores import FernetStore
    from twitchvault.stores.fernet.rotation import EncryptionReport

__all__ = ["group"]

group = typer.Typer(
    help="Make a key for an encrypted store, and change its keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


async def new(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it there, readable by its owner alone."),
    ] = None,
) -> None:
    """Make a new key, for TWITCHVAULT_KEYS or a key file."""
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415 - the driver
    except ImportError:
        raise missing_driver("an encrypted store", "cryptography", "fernet") from None
    key = Fernet.generate_key().decode()
    if out is None:
        say(key)
        return
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        fail(f"{str(out)!r} is there already: a key that is overwritten is lost")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(descriptor)
    except OSError:
        out.unlink()  # an empty file would pass for one with a key
        raise
    warn(f"Written: {out}. Without this file nobody can read the store: keep a copy elsewhere.")


async def rotate(store: StoreUrl = None, key_file: KeyFile = None, json: Json = False) -> None:
    """Encrypt all under the first key; bots that have both keys go on."""
    options = StoreOptions(store=store, key_file=key_file)
    required_keys(options.keys)
    async with opened_store(options, raw=True) as inner:
        if await inner.get(ENCRYPTION_CHECK_KEY) is None:
            fail(f"{store_name(options)!r} is not encrypted: 'twitchvault encrypt' encrypts it")
        await rewrite("Rotating", inner, options, json, _rotate)


async def _rotate(store: FernetStore) -> EncryptionReport:
    await store.open()
    return await store.rotate()


group.command("new")(as_command(new))
group.command("rotate")(as_command(rotate))
