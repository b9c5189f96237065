"""Stored users: records as the vault writes them, put into any store."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from twitchvault.vault.history import LIMIT, noted
from twitchvault.vault.record import Record, encode, fingerprint

if TYPE_CHECKING:
    from twitchvault import TokenStore

CLIENT_ID: Final = "benchmarkclient000000000000000"
BATCH: Final = 2_000


def user_id(number: int) -> str:
    """The id of the user of this number."""
    return str(100_000_000 + number)


def key(number: int) -> str:
    """Where the user's record stands in a store."""
    return f"{CLIENT_ID}:{user_id(number)}"


def make_record(number: int, old_tokens: int = 0) -> bytes:
    """The stored record of one user: as many exchanged tokens remembered, and what befell it."""
    remembered = "".join(fingerprint(f"{number}-{turn}") for turn in range(old_tokens))
    access, refresh = pair(number)
    record = Record(
        access_token=access,
        refresh_token=refresh,
        scopes=("chat:read", "chat:edit", "channel:read:subscriptions"),
        login=f"some_user_{number}",
        last_validated=time.time(),
        expires_in=13_900.0,
        seeded=False,
        exchanged=remembered,
        history=_history(min(old_tokens, LIMIT)),
    )
    return encode(record)


@cache
def _history(refreshes: int) -> str:
    """So many refreshes in the form that a record keeps."""
    record: Record | None = Record(access_token="", refresh_token="0")
    for turn in range(refreshes):
        newer = Record(access_token="", refresh_token=f"{turn + 1}", generation=turn + 2)
        record = noted(record, replace(newer, exchanged=f"{turn}"), time.time(), is_app=False)
    return "" if record is None else record.history


def pair(number: int) -> tuple[str, str]:
    """The user's tokens."""
    return f"{number:030d}", f"{number:050d}"


def rows(users: int) -> list[tuple[str, bytes]]:
    """Keys and records of so many users."""
    return [(key(number), make_record(number)) for number in range(users)]


async def fill(store: TokenStore, users: int, old_tokens: int = 0) -> None:
    """Put `users` records into an empty store."""
    for start in range(0, users, BATCH):
        numbers = range(start, min(start + BATCH, users))
        await asyncio.gather(*(store.put(key(n), make_record(n, old_tokens)) for n in numbers))
