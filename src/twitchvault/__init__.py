"""Sign Twitch users in, keep their tokens in a store of your choice, refresh each exactly once.

    from twitchvault.oauth import DeviceCodeFlow

    async with DeviceCodeFlow("CLIENT_ID", store="sqlite:///tokens.db") as flow:
        code = await flow.request_device_code({"chat:read"})
        print(f"Open {code.verification_uri}")
        token = await flow.wait_for_device_token(code.device_code)
        user = await flow.add_user(token.access_token, token.refresh_token)

The stores' drivers are optional: each is imported when its store is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault import errors, oauth, stores
from twitchvault.app import App
from twitchvault.errors import *
from twitchvault.helix import AppAPI, User, UserAPI
from twitchvault.metrics import Health, Metric
from twitchvault.oauth import *
from twitchvault.vault.events import VaultEvent
from twitchvault.vault.history import HistoryEntry

if TYPE_CHECKING:
    from twitchvault.stores import *

__all__ = ["App", "AppAPI", "Health", "HistoryEntry", "Metric", "User", "UserAPI", "VaultEvent"]
__all__ += errors.__all__
__all__ += oauth.__all__
__all__ += stores.__all__


def __getattr__(name: str) -> object:
    if name in stores.__all__:
        value: object = getattr(stores, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
