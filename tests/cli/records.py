"""Records as logins and refreshes make them, and stores filled with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from twitchvault.models import Token
from twitchvault.vault.record import Record, TokenPair, encode
from twitchvault.vault.transitions import exchanged, logged_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.stores import TokenStore


def login(name: str, current: Record | None = None) -> Record:
    """A login whose first tokens are called `<name>-a1` and `<name>-r1`."""
    record = logged_in(current, TokenPair(f"{name}-a1", f"{name}-r1"), None, 0.0)
    return replace(record, login=name)


def refreshed(record: Record, times: int = 1) -> Record:
    """The record after so many refreshes."""
    for _ in range(times):
        start, number = (record.refresh_token or "").rsplit("-r", 1)
        after = int(number) + 1
        answer = {
            "access_token": f"{start}-a{after}",
            "refresh_token": f"{start}-r{after}",
            "expires_in": 14000,
            "token_type": "bearer",
        }
        record = exchanged(record, record, Token.from_answer(answer), 0.0) or record
    return record


MANY = {f"client:{number}": login(f"user{number}") for number in range(300)}
VALUES = {key: encode(record) for key, record in MANY.items()}
"""Three hundred users, and what stands in a store for them."""


async def fill(store: TokenStore, records: Mapping[str, Record]) -> None:
    """Open a store, put records into it under their keys, and close it."""
    await store.open()
    try:
        puts = [store.put(key, encode(record)) for key, record in records.items()]
        for start in range(0, len(puts), 500):
            await asyncio.gather(*puts[start : start + 500])
    finally:
        await store.close()


async def entries_of(store: TokenStore) -> dict[str, bytes]:
    """Open a store, read all that is in it, by key, and close it."""
    await store.open()
    try:
        return {entry.key: entry.value async for entry in store.scan()}
    finally:
        await store.close()
