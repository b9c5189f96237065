"""How the store and its feeds connect, and what becomes of the driver's errors."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from twitchvault import StoreUnavailable

ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is one
)
SETTINGS: Final[dict[str, Any]] = {
    "timeout": 5,  # seconds to connect
    "command_timeout": 10,
    # A server may have another default, under which writes at the same time fail.
    "server_settings": {"default_transaction_isolation": "read committed"},
}


def name_of(url: str) -> str:
    """The server and database, without a password."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def unavailable(url: str, error: BaseException, doubt: str = "") -> StoreUnavailable:
    """The error of ours, with the first line of the driver's: its details may quote values."""
    reason = (str(error) or "no answer").splitlines()[0]
    return StoreUnavailable(f"{name_of(url)}: {type(error).__name__}: {reason}{doubt}")
