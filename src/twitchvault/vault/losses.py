"""What stands when a store has lost data: pure functions, as in `transitions`."""

from __future__ import annotations

from msgspec.structs import replace

from twitchvault.vault.record import FINGERPRINT_LENGTH, Record, fingerprint, split_fingerprints
from twitchvault.vault.transitions import MAX_EXCHANGED, MAX_SEEDS, removed

__all__ = ["descends", "leaves_trace", "reconciled"]


def descends(later: Record, record: Record) -> bool:
    """Whether `later`, which stands at a larger version, was written by who knew `record`."""
    return later.order > record.order or (later.order, later.pair) == (record.order, record.pair)


def leaves_trace(record: Record) -> bool:
    """Whether who removes such a user leaves an entry, once the lease was given back, too."""
    return removed(replace(record, lease=None)) is not None


def reconciled(stored: Record | None, ours: Record | None, *, lost: bool = True) -> Record | None:
    """What should stand when the store holds `stored` and this process held `ours` before.

    Mostly `stored`. A store that has lost data may hold something older: then it is `ours`. Or one
    of both is a login that was made by who did not know the other, or has exchanged the other's
    refresh token: that stands, and takes over what the other remembers. If that is true of both it
    is the stored one, unless only that needs a login. `lost`: a loss is known of, else a login of
    ours that leaves no trace may have been removed by somebody before the stored one came.
    """
    if ours is None:
        return stored
    if stored is None:
        # Whoever removes a user leaves this, if there is anything to remember. Nobody deletes a
        # leased record: the lease was given back before.
        gone = removed(ours)
        return None if gone is None else replace(gone, replaced_lease=None)
    is_newer = stored.order > ours.order
    unknown = (lost or leaves_trace(ours)) and _is_unknown_login(ours, stored)
    if not is_newer or unknown or _is_outdated(stored, ours):
        stored = _after_a_loss(stored, ours)
    return _with_spent_of(stored, ours)


def _after_a_loss(stored: Record, ours: Record) -> Record:
    if _is_refusal(stored, ours):
        return _with_memory_of(stored, ours, ours.generation)
    behind = stored.order < ours.order
    is_spent = _has_spent_that_of(stored, ours)
    outdated = _is_outdated(stored, ours) or _is_better_login(ours, stored)
    unknown = _is_unknown_login(stored, ours) or (not behind and _is_bare_login(stored, ours))
    if is_spent or (unknown and not outdated):
        return _with_memory_of(stored, ours, ours.generation + 1 if behind else stored.generation)
    if behind:
        return _with_spent_of(_with_lease_of(ours, stored), stored)
    if outdated or _is_unknown_login(ours, stored):
        return _with_memory_of(ours, stored, stored.generation + 1)
    if stored.restored > ours.restored:
        return _with_lease_of(stored, ours)  # who wrote it back may not have seen the lease
    return stored


def _with_lease_of(record: Record, other: Record) -> Record:
    """`record`, which somebody is exchanging if `other` says so."""
    same = record.refresh_token == other.refresh_token
    if not same or other.lease is None or record.lease is not None:
        return record
    return replace(record, lease=other.lease, lease_ttl=other.lease_ttl)


def _is_outdated(stored: Record, ours: Record) -> bool:
    """Whether the store holds a pair, without knowing that, whose refresh token is spent."""
    mark = fingerprint(stored.refresh_token or "")
    return _has_spent_that_of(ours, stored) and not stored.has_spent(mark)


def _has_spent_that_of(record: Record, other: Record) -> bool:
    """Whether `record` knows that the refresh token of `other` is spent.

    A confidential client's may stay the same: a refusal says nothing of a newer pair.
    """
    if record.refresh_token == other.refresh_token:
        return False
    return record.has_spent(fingerprint(other.refresh_token or ""))


def _is_refusal(record: Record, other: Record) -> bool:
    """Whether the very pair of `other`, which lives there, was refused in `record`."""
    return record.pair == other.pair and (record.state, other.state) == ("needs_login", "live")


def _is_better_login(ours: Record, stored: Record) -> bool:
    """Whether the stored record needs a login, and ours is one that it does not know."""
    needed = stored.state == "needs_login" and ours.state == "live"
    return needed and _is_unknown_login(ours, stored)


def _is_unknown_login(record: Record, other: Record) -> bool:
    """Whether `record` descends from a login that `other` does not know."""
    if record.refresh_token in {None, other.refresh_token}:
        return False
    login = record.seeds[-FINGERPRINT_LENGTH:]
    if record.seeded:
        login = fingerprint(record.refresh_token or "")
    if not login or login == fingerprint(other.refresh_token or ""):
        return False
    return not other.remembers(login)


def _is_bare_login(record: Record, other: Record) -> bool:
    """Whether `record` is a login by an access token alone, which no fingerprint tells of."""
    bare = record.state == "live" and record.refresh_token is None
    return bare and record.access_token != other.access_token


def _with_spent_of(current: Record, other: Record) -> Record:
    """`current`, which remembers what `other` has exchanged: in the usual case itself."""
    newest = other.exchanged[-FINGERPRINT_LENGTH:]
    known = current.seeds.startswith(other.seeds) and newest in current.exchanged
    if known and current.foreign == _foreign_of(current, other):
        return current
    return _changed(
        current,
        seeds=_joined(other.seeds, current.seeds, MAX_SEEDS),
        exchanged=_joined(other.exchanged, current.exchanged, MAX_EXCHANGED),
        foreign=_foreign_of(current, other),
    )


def _with_memory_of(current: Record, other: Record, generation: int) -> Record:
    """`current`, which knows what `other` remembers."""
    given_up = other.given_up
    if other.refresh_token not in {None, current.refresh_token}:
        mark = fingerprint(other.refresh_token or "")
        given_up = given_up if current.has_spent(mark) else given_up + mark
    return _changed(
        current,
        generation=generation,
        seeds=_joined(other.seeds, current.seeds, MAX_SEEDS),
        exchanged=_joined(other.exchanged, current.exchanged, MAX_EXCHANGED),
        foreign=_foreign_of(current, other),
        given_up=_joined(given_up, current.given_up, MAX_SEEDS),
    )


def _foreign_of(current: Record, other: Record) -> str:
    """What both know to be somebody else's, but for what `current` holds or has exchanged since."""
    held = fingerprint(current.refresh_token or "")
    known = (
        mark
        for mark in split_fingerprints(other.foreign)
        if mark != held and not current.has_spent(mark)
    )
    return _joined("".join(known), current.foreign, MAX_SEEDS)


def _changed(current: Record, **fields: object) -> Record:
    """`current` with these fields; itself if they are its own, so that nobody writes it again."""
    changed = replace(current, **fields)
    return current if changed == current else changed


def _joined(older: str, newer: str, limit: int) -> str:
    """Both memories. What is in the newer one stays in its order, or two processes never agree."""
    missing = [mark for mark in split_fingerprints(older) if mark not in newer]
    return ("".join(missing) + newer)[-limit * FINGERPRINT_LENGTH :]
