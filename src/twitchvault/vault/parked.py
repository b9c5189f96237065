"""How the entry of a refresh token from outside changes: pure functions, as in `transitions`.

It stands under its fingerprint's key until its user is known. Once it is exchanged its successor is
parked there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from twitchvault.vault.record import Record, TokenPair, fingerprint
from twitchvault.vault.transitions import (
    confirmed,
    logged_in,
    released,
    remember,
    renewed,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.models import Token, ValidateToken

    Chain: TypeAlias = Mapping[str, Record]

__all__ = [
    "attached",
    "cleared_seed",
    "is_with",
    "new_seed",
    "seed_exchanged",
    "seed_refused",
    "seed_released",
]


def new_seed(pair: TokenPair) -> Record:
    """The entry of a refresh token from outside whose user is not known."""
    return Record(pair.access_token, pair.refresh_token)


def seed_released(current: Record | None, name: str) -> Record | None:
    """The lease `name` of a seed is given back; of one that was not sent nothing stays."""
    if current is not None and current.lease == name and current.seeded:
        return None
    return released(current, name)


def seed_exchanged(current: Record | None, base: Record, token: Token) -> Record:
    """The seed of `base` was exchanged: its successor waits here until its user is known."""
    if current is not None and current.generation > base.generation:
        return current
    return Record(
        token.access_token,
        token.refresh_token or base.refresh_token,
        generation=base.generation + 1,
        scopes=token.scopes,
        expires_in=float(token.expires_in),
        seeded=False,
        extra=base.extra,
    )


def seed_refused(current: Record | None, base: Record, reason: str) -> Record | None:
    """Twitch refused a seed: the entry keeps that, and no token."""
    if current is None or current.pair != base.pair:
        return current
    return Record("", state="needs_login", reason=reason, generation=current.generation)


def cleared_seed(current: Record | None, parked: Record) -> Record | None:
    """What was parked is with its user."""
    return None if current is None or current.pair == parked.pair else current


def attached(
    current: Record | None, chain: Chain, answer: ValidateToken | None, now: float
) -> Record:
    """The seeds in `chain` were exchanged one after the other: the last pair comes to its user.

    It counts as a seed itself until it is exchanged: another process may have met it before its
    user was known.
    """
    parked = list(chain.values())[-1]
    if current is not None and _has_it_already(current, parked):
        new = current
    elif current is not None and current.refresh_token in chain:
        new = replace(renewed(current, parked, now), seeded=True)
        new = new if answer is None else confirmed(new, answer, now)
    elif current is not None and any(_outlives(current, sent) for sent in chain):
        new = current
    else:
        new = logged_in(current, parked.pair, answer, now)
        # Newer than the first pair of the chain, which may be shown already.
        new = replace(new, generation=max(new.generation, 1 + len(chain)))
    for sent, successor in chain.items():
        if sent not in {new.refresh_token, successor.refresh_token}:
            new = remember(new, sent, seeded=True)
        if answer is not None and fingerprint(sent) in new.foreign:  # it is the user's own
            new = replace(new, foreign=without(new.foreign, fingerprint(sent)))
    return new


def is_with(record: Record, mark: str, seed: Record) -> bool:
    """Whether nothing is left to do for a seed: its user has spent it, or holds its successor.

    `mark` is the fingerprint of the token that was exchanged for the one in `seed`, if any was. One
    that stays the same is not spent: then it is enough that a login has replaced it.
    """
    if record.has_spent(mark):
        return True
    stays = mark == fingerprint(seed.refresh_token or "")
    held = record.refresh_token is not None and record.refresh_token == seed.refresh_token
    return not seed.seeded and (held or (stays and record.remembers(mark)))


def _outlives(current: Record, sent: str) -> bool:
    """Whether the user's record has spent or replaced this token."""
    mark = fingerprint(sent)
    return current.has_spent(mark) or (current.state != "removed" and current.remembers(mark))


def _has_it_already(current: Record, parked: Record) -> bool:
    """Whether it holds the parked pair, or has exchanged its refresh token, which stays, since."""
    same = current.refresh_token == parked.refresh_token
    exchanged_since = same and not current.seeded and current.state == "live"
    return exchanged_since or current.pair == parked.pair
