"""The store on Redis or Valkey. Importing it needs no driver; making a `RedisStore` does."""

from __future__ import annotations

from twitchvault.stores.redis.store import RedisStore, from_url

__all__ = ["RedisStore", "from_url"]
