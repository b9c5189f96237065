"""Sign Twitch users in, keep their tokens in a store of your choice, refresh each exactly once.

    from twitchvault.oauth import DeviceCodeFlow

    async with DeviceCodeFlow("CLIENT_ID", store="sqlite:///tokens.db") as flow:
        code = await flow.request_device_code({"chat:read"})
        print(f"Open {code.verification_uri}")
        token = await flow.wait_for_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)

The backends' drivers are optional: each is imported when its store is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from twitchvault.app import App
from twitchvault.errors import (
    AuthFailure,
    BadRequest,
    ClientException,
    Conflict,
    CorruptRecord,
    DecryptionError,
    Forbidden,
    HTTPException,
    MissingDriver,
    NoAnswer,
    NotAuthorized,
    NotFound,
    RateLimited,
    StoreError,
    StoreUnavailable,
    TokenError,
    TwitchException,
    TwitchServerError,
    TwitchVaultError,
    Unauthorized,
    VersionConflict,
    WrongEventLoop,
)
from twitchvault.helix import AppAPI, User, UserAPI
from twitchvault.models import ClientCredentials, DeviceCode, Token, ValidateToken
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow
from twitchvault.scopes import Scopes
from twitchvault.stores.base import Change, Entry, Feed, TokenStore, Watchable
from twitchvault.stores.memory import MemoryStore
from twitchvault.stores.url import open_store
from twitchvault.vault.events import VaultEvent

if TYPE_CHECKING:
    from twitchvault.stores import FernetStore, RedisStore, SQLiteStore

__all__ = [
    "App",
    "AppAPI",
    "AuthFailure",
    "AuthorizationCodeGrantFlow",
    "BadRequest",
    "Change",
    "ClientCredentials",
    "ClientException",
    "Conflict",
    "CorruptRecord",
    "DecryptionError",
    "DeviceCode",
    "DeviceCodeFlow",
    "Entry",
    "Feed",
    "FernetStore",
    "Forbidden",
    "HTTPException",
    "MemoryStore",
    "MissingDriver",
    "NoAnswer",
    "NotAuthorized",
    "NotFound",
    "RateLimited",
    "RedisStore",
    "SQLiteStore",
    "Scopes",
    "StoreError",
    "StoreUnavailable",
    "Token",
    "TokenError",
    "TokenStore",
    "TwitchException",
    "TwitchServerError",
    "TwitchVaultError",
    "Unauthorized",
    "User",
    "UserAPI",
    "ValidateToken",
    "VaultEvent",
    "VersionConflict",
    "Watchable",
    "WrongEventLoop",
    "open_store",
]

_LATE = frozenset({"FernetStore", "RedisStore", "SQLiteStore"})


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(import_module("twitchvault.stores"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
