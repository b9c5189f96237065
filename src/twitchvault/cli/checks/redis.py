"""A Redis or Valkey server: its version, and whether it may lose tokens."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from twitchvault.cli.checks import Check

_APPEND: Final = "set 'appendonly yes' in the server's configuration"
_TIMEOUT: Final = 5.0


async def check_server(url: str) -> list[Check]:
    """What the server says of itself; a store on it was opened before."""
    client = Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
    try:
        info: dict[str, Any] = await client.info()
        saves = await _save_points(client)
    except (RedisError, OSError) as error:
        text = f"the server does not say how it is set up ({type(error).__name__})"
        advice = "allow this user the command INFO, or look yourself: appendonly, maxmemory-policy"
        return [Check("redis", "warning", text, advice)]
    finally:
        await client.aclose()
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return [Check("redis", "ok", f"{name} {version}"), _persistence(info, saves), _eviction(info)]


async def _save_points(client: Redis) -> str | None:
    """When the server makes snapshots; None if it does not say."""
    with suppress(RedisError):
        return str((await client.config_get("save")).get("save", ""))
    return None


def _persistence(info: dict[str, Any], saves: str | None) -> Check:
    """What a restart of the server keeps."""
    for field in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(field, "ok") != "ok":
            text = f"the server fails to write to its disk ({field} is {info[field]})"
            return Check("persistence", "problem", text, "look into the server's log")
    if info.get("aof_enabled"):
        return Check("persistence", "ok", "each write goes to the append-only file")
    if saves == "":
        text = "nothing is written to disk: a restart of the server loses every token"
        return Check("persistence", "warning", text, _APPEND)
    text = "only snapshots are written: a crash of the server loses the newest tokens"
    return Check("persistence", "warning", text, _APPEND)


def _eviction(info: dict[str, Any]) -> Check:
    """Whether the server drops tokens when its memory runs short."""
    policy, limit = str(info.get("maxmemory_policy", "noeviction")), info.get("maxmemory", 0)
    if not policy.startswith("allkeys"):
        return Check("eviction", "ok", f"maxmemory-policy is {policy}")
    text = f"maxmemory-policy is {policy}: the server may drop tokens when memory runs short"
    advice = "set it to 'noeviction' or 'volatile-lru'"
    return Check("eviction", "problem" if limit else "warning", text, advice)
