"""For tests, ours and yours: `FakeTwitch`, a double of Twitch, and `StoreContract`, for stores.

    from twitchvault.testing import FakeTwitch, FakeTwitchProcess, StoreContract

`StoreContract` alone needs pytest. `twitchvault.testing.fake` tells of the double's whole surface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fake import FakeTwitch, FakeTwitchProcess, RemoteTwitch

if TYPE_CHECKING:
    from .contract import StoreContract

__all__ = ["FakeTwitch", "FakeTwitchProcess", "RemoteTwitch", "StoreContract"]


def __getattr__(name: str) -> object:
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .contract import StoreContract  # noqa: PLC0415 - it needs pytest

    return StoreContract
