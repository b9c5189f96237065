"""What the parts of one vault share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twitchvault.stores.base import Watchable
from twitchvault.vault.backoff import Backoff
from twitchvault.vault.events import Events
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.outbox import Outbox
from twitchvault.vault.repository import Repository

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.metrics import Metrics
    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.repository import Held

__all__ = ["Context", "Part"]

LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts to write into a store that is down."""


class Context:
    """Made once by `Vault`, from the bottom up."""

    def __init__(
        self,
        store: TokenStore,
        identity: Identity,
        clocks: Clocks,
        lease_ttl: float,
        metrics: Metrics,
    ) -> None:
        live = isinstance(store, Watchable) and not getattr(store, "pushes_changes", False)
        self.identity = identity
        self.clocks = clocks
        self.lease_ttl = lease_ttl
        self.metrics = metrics
        self.events = Events(metrics)
        self.mirror = Mirror(identity.client_id, self.events, live=live)
        self.repository = Repository(store, identity.client_id, self.mirror, metrics)
        # A pair that waits for the store is tried often enough that no waiter takes its lease over.
        pause = min(LONGEST_PAUSE, lease_ttl / 4)
        self.outbox = Outbox(self.repository, self.mirror, clocks, pause)
        self.backoff = Backoff(clocks)


class Part:
    """Whatever works with all of it."""

    def __init__(self, context: Context) -> None:
        self._identity = context.identity
        self._clocks = context.clocks
        self._lease_ttl = context.lease_ttl
        self._metrics = context.metrics
        self._events = context.events
        self._mirror = context.mirror
        self._repository = context.repository
        self._outbox = context.outbox
        self._backoff = context.backoff

    async def _read(self, key: str) -> Held | None:
        """What the store holds under a key, but no removed record."""
        # What this process has changed itself must be in the store before the store is asked.
        await self._outbox.written(key)
        held = await self._repository.read(key)
        return None if held is None or held.record.state == "removed" else held
