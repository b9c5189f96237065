"""Processes that share a store: SQLite, or a Redis server of the session's."""

from tests.processes.conftest import fleet, twitch
from tests.redis_store.conftest import server, store_url

__all__ = ["fleet", "server", "store_url", "twitch"]
