"""For tests, ours and yours: `FakeTwitch`, a double of Twitch, and `StoreContract`, for stores.

    from twitchvault.testing import FakeTwitch, FakeTwitchProcess
    from twitchvault.testing import StoreContract          # needs pytest

Everything is imported on first use, so the double does not need pytest. See
`twitchvault.testing.fake` for its whole surface.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .contract import StoreContract
    from .fake import FakeTwitch, FakeTwitchProcess, RemoteTwitch

__all__ = ["FakeTwitch", "FakeTwitchProcess", "RemoteTwitch", "StoreContract"]

_MODULES: Final = {
    "FakeTwitch": ".fake",
    "FakeTwitchProcess": ".fake",
    "RemoteTwitch": ".fake",
    "StoreContract": ".contract",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
