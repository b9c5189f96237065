"""The changes of the inner store, decrypted."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreUnavailable
from twitchvault.stores.base import Change, Feed, LossFeed, PushingFeed
from twitchvault.stores.fernet.seal import RESERVED, no_key
from twitchvault.stores.fernet.walk import SLICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.stores.fernet.session import Session

__all__ = ["FernetFeed", "PushingFernetFeed", "feed_over"]

_LOOK_AGAIN: Final = 1.0
_AT_ONCE: Final = 0.02


class FernetFeed(Feed):
    """What the inner feed gives goes through three places, so that nothing is lost on the way.

    `_raw`: not decrypted yet. `_opened`: not handed out yet. `_shut`: no key opens it, but the
    callable may bring one that does; it waits for a method that can ask.
    """

    on_loss: Callable[[Callable[[], None]], None]

    def __init__(self, session: Session, inner: Feed) -> None:
        self._session = session
        self._inner = inner
        self._raw: deque[Change] = deque()
        self._opened: list[Change] = []
        self._shut: dict[str, Change] = {}

    async def wait(self) -> list[Change]:
        """At least one change, as soon as there is one."""
        while True:
            await self._open_all()
            if changes := self._hand_out():
                return changes
            await self._pull()

    def drain(self) -> list[Change]:
        """What can be known now; of very many changes the first, the others with the next call."""
        self._raw.extend(self._inner.drain())
        self._open_some(_AT_ONCE)
        return self._hand_out()

    async def catch_up(self) -> list[Change]:
        """All that was committed before the call and not handed out yet."""
        self._raw.extend(await self._inner.catch_up())
        await self._open_all()
        return self._hand_out()

    def end(self) -> None:
        """The context is left."""
        self._raw.clear()

    def _hand_out(self) -> list[Change]:
        changes, self._opened = self._opened, []
        return changes

    def _hand_over(self) -> None:
        """Between two slices: a feed that pushes need not keep what is opened."""

    async def _pull(self) -> None:
        # `drain` may have put something aside while this waits; only then is there cause to look.
        patience = _LOOK_AGAIN if self._session.may_change else None
        try:
            async with asyncio.timeout(patience) as limit:
                self._raw.extend(await self._inner.wait())
        except TimeoutError:
            if not limit.expired():
                raise

    async def _open_all(self) -> None:
        while self._open_some(SLICE):
            self._hand_over()
            await asyncio.sleep(0)
        if self._shut:
            await self._open_shut()

    def _open_some(self, seconds: float) -> bool:
        """Decrypt for about so long; True if there is more."""
        end = time.monotonic() + seconds
        while self._raw:
            self._open(self._raw.popleft())
            if time.monotonic() > end:
                break
        return bool(self._raw)

    def _open(self, change: Change) -> None:
        key, version, token = change
        if key == RESERVED:
            return
        self._shut.pop(key, None)
        if token is None:
            self._opened.append(change)
            return
        value = self._session.seal.open(key, token)
        if value is not None:
            self._opened.append(Change(key, version, value))
        elif self._session.may_change:
            self._shut[key] = change
        else:
            self._opened.append(Change(key, version, no_key(key)))

    async def _open_shut(self) -> None:
        """Ask for the keys again; what they do not open is handed out as unreadable."""
        shut = list(self._shut.values())
        with suppress(StoreUnavailable):
            await self._session.renew()
        since = time.monotonic()
        for change in shut:
            if self._shut.get(change.key) is change and change.value is not None:
                del self._shut[change.key]
                value = self._session.open_late(change.key, change.value)
                self._opened.append(Change(change.key, change.version, value))
            if time.monotonic() - since > SLICE:
                await asyncio.sleep(0)
                since = time.monotonic()


class PushingFernetFeed(FernetFeed, PushingFeed):
    """A feed over one that pushes.

    A batch too large to be decrypted at once is handed over piece by piece, in turns of the loop.
    """

    def __init__(self, session: Session, inner: PushingFeed) -> None:
        super().__init__(session, inner)
        self._pushing = inner
        self._sink: Callable[[list[Change]], None] | None = None
        self._going_on: asyncio.Handle | None = None

    def push_to(self, sink: Callable[[list[Change]], None]) -> None:
        """From now on call `sink` with each change, as the inner feed does.

        A change that no key opens, where the keys come from a callable, waits for `wait` or
        `catch_up`: only they can ask for the keys again.
        """
        self._sink = sink
        self._receive([])
        self._pushing.push_to(self._receive)

    def end(self) -> None:
        """The context is left: nothing is pushed any more."""
        super().end()
        self._sink = None
        if self._going_on:
            self._going_on.cancel()

    def _receive(self, changes: list[Change]) -> None:
        self._raw.extend(changes)
        if self._going_on is None:
            self._go_on()

    def _go_on(self) -> None:
        self._going_on = None
        if self._open_some(SLICE):
            self._going_on = asyncio.get_running_loop().call_soon(self._go_on)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._sink and self._opened:
            self._sink(super()._hand_out())

    def _hand_out(self) -> list[Change]:
        if self._sink is None:
            return super()._hand_out()
        self._hand_over()
        return []


def feed_over(session: Session, inner: Feed) -> FernetFeed:
    """A feed that pushes if the inner one does, and tells of losses if that does."""
    feed = FernetFeed(session, inner)
    if isinstance(inner, PushingFeed):
        feed = PushingFernetFeed(session, inner)
    if isinstance(inner, LossFeed):
        # Of the object, not of the class: that is what isinstance(feed, LossFeed) looks at.
        feed.on_loss = inner.on_loss
    return feed
