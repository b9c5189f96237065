"""From a URL to a store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from twitchvault.errors import scrub_traceback
from twitchvault.stores.memory import MemoryStore

if TYPE_CHECKING:
    from twitchvault.stores.base import TokenStore

__all__ = ["open_store"]

_FORMS: Final = (
    "'memory://', 'sqlite:///relative.db', 'sqlite:////absolute.db', "
    "'redis://...', 'rediss://...' or 'unix://...'"
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@scrub_traceback
def open_store(url: str) -> TokenStore:
    """A store for a URL, not opened yet: `await store.open()` does that.

    | URL | store |
    | --- | --- |
    | `memory://` | a new `MemoryStore()` |
    | `sqlite:///relative.db`, `sqlite:////absolute.db` | `SQLiteStore(path)`; `%xx` is decoded |
    | `redis://...`, `rediss://...`, `unix://...` | `RedisStore(url)`, the URL going whole to it |

    Raises `ValueError` for anything else, without showing what may be a password, and
    `MissingDriver` if the backend's package is not installed.
    """
    if not isinstance(url, str):
        msg = f"'url' must be a str, not {type(url).__name__}"
        raise TypeError(msg)
    found = _SCHEME.match(url)
    scheme, rest = (found[1].lower(), url[found.end() :]) if found else ("", "")
    match scheme:
        case "memory" if not rest:
            return MemoryStore()
        case "sqlite":
            return _sqlite(rest)
        case "redis" | "rediss" | "unix":
            return _redis(url)
    raise ValueError(_complaint(scheme))


def _sqlite(rest: str) -> TokenStore:
    from twitchvault.stores.sqlite import SQLiteStore  # noqa: PLC0415

    if not rest.startswith("/") or len(rest) == 1:
        msg = "a 'sqlite' URL has three slashes and a path: 'sqlite:///relative.db', or four: "
        msg += "'sqlite:////absolute.db'"
        raise ValueError(msg)
    if "?" in rest or "#" in rest:
        msg = "a 'sqlite' URL takes no '?' options and no '#' part: give options to "
        msg += "SQLiteStore(path), and write '%3F' or '%23' if the file's name holds such a sign"
        raise ValueError(msg)
    return SQLiteStore(unquote(rest[1:]))


def _redis(url: str) -> TokenStore:
    from twitchvault.stores.redis import RedisStore  # noqa: PLC0415

    return RedisStore(url)


def _complaint(scheme: str) -> str:
    if scheme == "memory":
        return "a 'memory' URL is 'memory://' and nothing after it"
    what = f"'{scheme}://...' names no store known here" if scheme else "'url' has no scheme"
    return f"{what}: expected {_FORMS}; for any other store, pass the store object itself"
