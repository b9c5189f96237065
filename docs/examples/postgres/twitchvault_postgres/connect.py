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
    OSError,
    TimeoutError,
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


def unavailable(server: str, error: BaseException, doubt: str = "") -> StoreUnavailable:
    """The error of ours, with the first line of the driver's: its details may quote values."""
    reason = str(error.args[0]).splitlines()[0] if error.args and error.args[0] else "no answer"
    return StoreUnavailable(f"{server}: {type(error).__name__}: {reason}{doubt}")
