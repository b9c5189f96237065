"""The store: there, open, its keys, its users; and what it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.cli.checks import Check
from twitchvault.cli.checks.contract import check_contract
from twitchvault.cli.checks.files import check_mode, check_sqlite
from twitchvault.cli.console import in_our_words
from twitchvault.cli.store import (
    make_inner,
    store_file,
    store_is_there,
    store_name,
    store_url,
    unlocked,
)
from twitchvault.cli.users import read_users
from twitchvault.errors import StoreError, TwitchVaultError, WrongValue

if TYPE_CHECKING:
    from twitchvault.cli.options import StoreOptions
    from twitchvault.stores import TokenStore

_SERVERS: Final = ("redis://", "rediss://", "unix://")


async def check_store(options: StoreOptions) -> list[Check]:
    """All that can be said of the store; nothing in it is changed but a key of the check's own."""
    name = store_name(options)
    try:
        inner = make_inner(options, store_url(options))
    except (TwitchVaultError, WrongValue) as error:
        return [
            Check("store", "problem", in_our_words(str(error)), "name another one with --store")
        ]
    if not store_is_there(options):
        return [Check("store", "problem", f"there is none in {name!r}", "sign in, or name another")]
    try:
        await inner.open()
        return [Check("store", "ok", f"{name} is open"), *await _opened(inner, options)]
    except StoreError as error:
        advice = "start its server or mend what is said, or name another one with --store"
        return [Check("store", "problem", f"{name}: {error}", advice)]
    finally:
        await inner.close()


async def _opened(inner: TokenStore, options: StoreOptions) -> list[Check]:
    checks: list[Check] = []
    file, url = store_file(options), store_url(options)
    if file is not None:
        checks += check_sqlite(file)
    elif url.lower().startswith(_SERVERS):
        from twitchvault.cli.checks.redis import check_server  # noqa: PLC0415 - needs the driver

        checks += await check_server(url)
    store, check = await _unlocked(inner, options)
    checks.append(check)
    if options.keys is not None and options.keys.path is not None:
        checks.append(check_mode("key file", options.keys.path))
    if store is not None:
        checks += [await check_contract(store), await _users(store)]
    return checks


async def _unlocked(inner: TokenStore, options: StoreOptions) -> tuple[TokenStore | None, Check]:
    """The store as a program reads it, or None if it cannot."""
    try:
        store = await unlocked(inner, options)
    except (StoreError, WrongValue) as error:
        text, _, advice = in_our_words(str(error)).rpartition(": ")
        return None, Check("key", "problem", text or advice, advice)
    if options.keys is None:
        return store, Check("key", "ok", "the store is not encrypted, and there are no keys")
    return store, Check("key", "ok", f"{options.keys.source} decrypts the store")


async def _users(store: TokenStore) -> Check:
    users = await read_users(store)
    damaged = [user.name for user in users if user.state == "damaged"]
    lost = [user.name for user in users if user.state == "needs_login"]
    if damaged:
        text = f"{len(damaged)} of {len(users)} cannot be read: {', '.join(damaged)}"
        return Check(
            "users",
            "problem",
            text,
            "let them sign in again, or 'twitchvault remove' them and restore a backup",
        )
    if lost:
        have = "has" if len(lost) == 1 else "have"
        text = f"{len(lost)} of {len(users)} {have} to sign in again: {', '.join(lost)}"
        return Check("users", "warning", text, "'twitchvault login' for each of them")
    return Check("users", "ok", f"{len(users)} can be used")
