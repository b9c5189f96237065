"""A token store over PostgreSQL: `App("CLIENT_ID", store="postgresql://user@host/database")`."""

from __future__ import annotations

from twitchvault_postgres.store import PostgresStore

__all__ = ["PostgresStore", "from_url"]


def from_url(url: str) -> PostgresStore:
    """The entry point of the scheme `postgresql://`."""
    return PostgresStore(url)
