"""What stands when a store has lost data: pure functions, as in `transitions`."""

from __future__ import annotations

from msgspec.structs import replace

from twitchvault.vault.record import FINGERPRINT_LENGTH, Record, fingerprint, split_fingerprints
from twitchvault.vault.transitions import MAX_EXCHANGED, MAX_SEEDS, removed

__all__ = ["descends", "reconciled"]


def descends(later: Record, record: Record) -> bool:
    """Whether `later`, which stands at a larger version, was written by who knew `record`."""
    return later.order > record.order or (later.order, later.pair) == (record.order, record.pair)


def reconciled(stored: Record | None, ours: Record | None) -> Record | None:
    """What should stand when the store holds `stored` and this process held `ours` before.

    Mostly `stored`. A store that has lost data may hold something older: then it is `ours`. Or one
    of both is a login that was made by who did not know the other, or has exchanged the other's
    refresh token: that stands, and takes over what the other remembers; the stored one if that is
    true of both.
    """
    if ours is None:
        return stored
    if stored is None:
        return removed(ours)  # whoever removes a user leaves this, if there is anything to remember
    is_newer = stored.order > ours.order
    if not is_newer or _is_unknown_login(ours, stored) or _is_outdated(stored, ours):
        stored = _after_a_loss(stored, ours)
    return _with_seeds_of(stored, ours)


def _after_a_loss(stored: Record, ours: Record) -> Record:
    behind = stored.order < ours.order
    is_spent = stored.has_spent(fingerprint(ours.refresh_token or ""))
    outdated = _is_outdated(stored, ours)
    if is_spent or (_is_unknown_login(stored, ours) and not outdated):
        return _with_memory_of(stored, ours, ours.generation + 1 if behind else stored.generation)
    if behind:
        return ours
    if outdated or _is_unknown_login(ours, stored):
        return _with_memory_of(ours, stored, stored.generation + 1)
    return stored


def _is_outdated(stored: Record, ours: Record) -> bool:
    """Whether the store holds a pair, without knowing that, whose refresh token is spent."""
    mark = fingerprint(stored.refresh_token or "")
    return ours.has_spent(mark) and not stored.has_spent(mark)


def _is_unknown_login(record: Record, other: Record) -> bool:
    """Whether `record` descends from a login that `other` does not know."""
    if record.refresh_token in {None, other.refresh_token} or other.state == "removed":
        return False
    login = record.seeds[-FINGERPRINT_LENGTH:]
    if record.seeded:
        login = fingerprint(record.refresh_token or "")
    if not login or login == fingerprint(other.refresh_token or ""):
        return False
    return not other.remembers(login)


def _with_seeds_of(current: Record, other: Record) -> Record:
    """`current`, which remembers the seeds of `other`: in the usual case itself."""
    if current.seeds.startswith(other.seeds):
        return current
    missing = [mark for mark in split_fingerprints(other.seeds) if mark not in current.seeds]
    seeds = ("".join(missing) + current.seeds)[-MAX_SEEDS * FINGERPRINT_LENGTH :]
    return current if seeds == current.seeds else replace(current, seeds=seeds)


def _with_memory_of(current: Record, other: Record, generation: int) -> Record:
    """`current`, which knows what `other` remembers."""
    given_up = other.given_up
    if current.refresh_token != other.refresh_token:
        mark = fingerprint(other.refresh_token or "")
        given_up = given_up if current.has_spent(mark) else given_up + mark
    return replace(
        current,
        generation=generation,
        seeds=_joined(other.seeds, current.seeds, MAX_SEEDS),
        exchanged=_joined(other.exchanged, current.exchanged, MAX_EXCHANGED),
        given_up=_joined(given_up, current.given_up, MAX_SEEDS),
    )


def _joined(older: str, newer: str, limit: int) -> str:
    marks = dict.fromkeys((*split_fingerprints(older), *split_fingerprints(newer)))
    return "".join([*marks][-limit:])
