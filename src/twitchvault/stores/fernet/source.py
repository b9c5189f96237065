"""Where the keys come from: given once, or by a callable that may give others later."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Final

from twitchvault.errors import MissingDriver, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores.fernet.keys import Given, Ring

__all__ = ["KeySource"]

_PATIENCE: Final = 30.0


class KeySource:
    """`may_change`: whether asking again may bring other keys."""

    def __init__(self, given: Given) -> None:
        self._ring_of = _load_driver()
        self._ask: Callable[[], object] | None = given if callable(given) else None
        self._ring = None if callable(given) else self._ring_of(given)
        self.may_change = self._ask is not None

    async def load(self) -> Ring:
        """The keys as of now. `StoreUnavailable` if the callable fails or takes too long."""
        if self._ask is None:
            assert self._ring is not None
            return self._ring
        try:
            async with asyncio.timeout(_PATIENCE):
                given = await _call(self._ask)
        except StoreError:
            raise
        except TimeoutError:
            msg = f"the callable 'keys' gave no keys within {_PATIENCE:.0f} s"
            raise StoreUnavailable(msg) from None
        except Exception as error:  # its text might hold a key
            msg = f"the callable 'keys' failed with {type(error).__name__}"
            raise StoreUnavailable(msg) from None
        return self._ring_of(given)


async def _call(ask: Callable[[], object]) -> object:
    # A plain function may talk to a key service and would hold up the loop.
    given = ask() if inspect.iscoroutinefunction(ask) else await asyncio.to_thread(ask)
    return await given if inspect.isawaitable(given) else given


def _load_driver() -> Callable[[object], Ring]:
    try:
        from twitchvault.stores.fernet.keys import ring_of  # noqa: PLC0415
    except ImportError:
        msg = "FernetStore needs the package 'cryptography': pip install 'twitchvault[fernet]'"
        raise MissingDriver(msg) from None
    return ring_of
