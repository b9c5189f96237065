"""What the parts of one vault share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twitchvault.identity import Identity
    from twitchvault.vault.backoff import Backoff
    from twitchvault.vault.clocks import Clocks
    from twitchvault.vault.events import Events
    from twitchvault.vault.mirror import Mirror
    from twitchvault.vault.outbox import Outbox
    from twitchvault.vault.repository import Repository

__all__ = ["Context", "Part"]


@dataclass(frozen=True, slots=True)
class Context:
    """Made once by `Vault`, from the bottom up."""

    identity: Identity
    clocks: Clocks
    events: Events
    mirror: Mirror
    repository: Repository
    outbox: Outbox
    backoff: Backoff
    lease_ttl: float


class Part:
    """Whatever works with all of it."""

    def __init__(self, context: Context) -> None:
        self._identity = context.identity
        self._clocks = context.clocks
        self._events = context.events
        self._mirror = context.mirror
        self._repository = context.repository
        self._outbox = context.outbox
        self._backoff = context.backoff
        self._lease_ttl = context.lease_ttl
