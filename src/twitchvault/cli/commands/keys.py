"""`twitchvault keys new` and `twitchvault keys rotate`."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from twitchvault.cli import FAILED
from twitchvault.cli.console import fail, progress, say, say_json, warn
from twitchvault.cli.options import Json, KeyFile, StoreOptions, StoreUrl, as_command
from twitchvault.cli.store import opened_store, store_name
from twitchvault.environment import encrypted
from twitchvault.stores import FernetStore
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY, missing_driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twitchvault.environment import Keys
    from twitchvault.stores import TokenStore
    from twitchvault.stores.fernet.rotation import EncryptionReport

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
    store = encrypted(inner, required_keys(options.keys))
    assert isinstance(store, FernetStore)
    with progress(text):
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


group.command("new")(as_command(new))
group.command("rotate")(as_command(rotate))
