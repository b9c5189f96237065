"""How the record of the app access token changes: pure functions, as in `transitions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from twitchvault.vault.record import Record

if TYPE_CHECKING:
    from twitchvault.models import ClientCredentials

__all__ = ["app_added", "app_record", "app_renewed"]


def app_record(answer: ClientCredentials, now: float) -> Record:
    """An app access token; it counts as validated when issued."""
    return Record(
        access_token=answer.access_token,
        last_validated=now,
        expires_in=float(answer.expires_in),
        seeded=False,
    )


def app_added(current: Record | None, fresh: Record) -> Record:
    """The first app token; another process may have been faster."""
    if current is None:
        return fresh
    if current.state == "live":
        return current
    return replace(fresh, generation=current.generation + 1, extra=current.extra)


def app_renewed(current: Record | None, base: Record, fresh: Record) -> Record | None:
    """A new app token takes the place of the one in `base`."""
    if current is None or current.access_token != base.access_token:
        return current
    return replace(fresh, generation=current.generation + 1, extra=current.extra)
