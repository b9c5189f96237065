"""A store in one SQLite file, for one or several processes of one machine."""

from __future__ import annotations

from twitchvault.stores.sqlite.store import SQLiteStore, from_url

__all__ = ["SQLiteStore", "from_url"]
