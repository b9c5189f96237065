"""Who is in a store: read from the store alone, Twitch is not asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from twitchvault.errors import CorruptRecord, DecryptionError, StoreError
from twitchvault.stores.base import ENCRYPTION_CHECK_KEY
from twitchvault.vault.record import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.stores.base import Entry, TokenStore
    from twitchvault.vault.record import Record

__all__ = ["StoredUser", "opened", "read_users"]


class StoredUser(NamedTuple):
    """One user of one application; `record` is None if it cannot be read, `problem` says why."""

    client_id: str
    user_id: str
    version: int
    record: Record | None
    problem: str = ""

    @property
    def key(self) -> str:
        """The key in the store."""
        return f"{self.client_id}:{self.user_id}"

    @property
    def name(self) -> str:
        """The login name, or the id where it is not known."""
        return (self.record and self.record.login) or self.user_id

    @property
    def needs_login(self) -> bool:
        """Whether the user has to sign in again."""
        return self.record is None or self.record.state == "needs_login"


@asynccontextmanager
async def opened(store: TokenStore) -> AsyncIterator[TokenStore]:
    """The store, open for the length of the block; `StoreError` for one that needs a key."""
    try:
        await store.open()
        if await store.get(ENCRYPTION_CHECK_KEY) is not None:
            msg = "this store is encrypted: name the file with its keys, --key-file"
            raise StoreError(msg)
        yield store
    finally:
        await store.close()


async def read_users(store: TokenStore, client_id: str | None = None) -> list[StoredUser]:
    """All users of one application, or of all, in the order of their names."""
    prefix = "" if client_id is None else f"{client_id}:"
    users = [user async for entry in store.scan(prefix) if (user := _user(entry)) is not None]
    return sorted(users, key=lambda user: (user.client_id, user.name, user.user_id))


def _user(entry: Entry) -> StoredUser | None:
    client_id, colon, user_id = entry.key.partition(":")
    # Without a colon it is no user's key; the application's own token stands under the client id.
    if not colon or user_id == client_id:
        return None
    try:
        record = decode(entry.value, user_id)
        return (
            None
            if record.state == "removed"
            else StoredUser(client_id, user_id, entry.version, record)
        )
    except (CorruptRecord, DecryptionError) as error:
        return StoredUser(client_id, user_id, entry.version, None, str(error))
