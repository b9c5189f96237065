"""What is unavoidable: the one list of reasons for which a login may be lost or a token replayed.

Each reason is decided by what the world knows, never by what the vault says:

- somebody outside exchanged the token
- the answer was lost on the network, or something else came in its place, or the owner closed and
  had waited for it long enough
- the owner died between Twitch's commit and the durable write
- the owner stood still or was cut off from the store until another saw its lease fall due
- the store went back in time, and no living process that knew better had had the chance to say so
- Twitch lied: it refused a refresh token that it takes, or an access token that lives
- the old access token died by itself just when an exchange failed
- a pair was removed while it was leased, and came back: the pair that it was exchanged for was
  dropped, and whether a confidential client's token still works nobody can know
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.chances import could_act, had_chance, losses_of
from tests.simulation.facts import NEVER

if TYPE_CHECKING:
    from tests.simulation.books import Books
    from tests.simulation.facts import Loss, Pair, Request
    from tests.simulation.host import Host

__all__ = [
    "ANSWER",
    "BY_ITSELF",
    "DIED",
    "DOUBT",
    "GLANCE",
    "LIED",
    "OUTSIDE",
    "WENT_BACK",
    "replay",
]

OUTSIDE: Final = "somebody outside exchanged the token"
ANSWER: Final = "the answer was lost"
DIED: Final = "the owner died"
STILL: Final = "the owner stood still or was cut off"
WENT_BACK: Final = "the store went back in time"
LIED: Final = "Twitch lied"
DOUBT: Final = "it was removed during its exchange"
BY_ITSELF: Final = "the access token died by itself"

GLANCE: Final = 1.0
"""Seconds from the last look at the record until the request has left, over a new connection."""
UNDER_WAY: Final = 0.05
"""Seconds in which a write may be under way that began before its process knew better."""
MINUTE: Final = 60.0
LONG: Final = 300.0
"""Seconds for which a process relies on it that an access token cannot die by itself."""
LATE: Final = 12.0
"""Seconds before its end in which an access token may be dead by itself, as clients can tell.

They take ten for the time that an answer may have been under way, and are told whole seconds."""
BLIND: Final = 0.4
"""The part of a lease's ttl that is a gap in which it was not seen."""
BEHELD: Final = 0.9
"""The part of its ttl for which a lease has to be seen to stand, as clocks and delays can tell."""
SLACK: Final = 0.6
"""The part of its lease for which an owner may be disturbed and keep it: it renews each third."""


def replay(books: Books, ttl: dict[Host, float], again: Request, old: Pair) -> str | None:
    """Why the spent token of `old` was presented by `again`; None: that could be avoided."""
    spender = old.spent_by
    if spender is None:
        return OUTSIDE
    first, second = sorted((spender, again), key=lambda one: (one.left_at, one.number))
    return (
        _ended(books, first, second)
        or _unprotected(books, ttl, old, first, second)
        or _forgotten(books, old, second)
        or _untold(books, ttl, old, second)
        or _removed_and_due(books, ttl, old, first, second)
    )


def _removed_and_due(
    books: Books, ttl: dict[Host, float], old: Pair, first: Request, second: Request
) -> str | None:
    """The user was removed and the pair came back, whose lease then fell due before the answer."""
    leased, _ = books.lease_of(first)
    due = second.left_at - ttl[first.host] * BEHELD
    removed = any(leased <= at <= due for at in books.removed(old.user))
    return DOUBT if removed and second.left_at <= first.answered_at else None


def _ended(books: Books, first: Request, second: Request) -> str | None:
    """The exchange brought nothing, and who asked again could not know that the token is spent."""
    if first.failed_at > second.left_at or first.abandoned:
        return None
    if first.host is second.host and _could_know(books, first, second):
        return None
    return ANSWER


def _could_know(books: Books, first: Request, second: Request) -> bool:
    """Its old access token lived when it left and is dead since: who asks for that knows it.

    Once the token would have run out by itself, that says nothing any more.
    """
    old = next(pair for pair in books.pairs if pair.refresh == first.token)
    accepted = books.accepted.get((first.host, old.access), ())
    refused = books.refused.get((first.host, old.access), ())
    dead = books.validated_dead.get((first.host, old.access), ())
    lived = max((at for at in accepted if at <= first.left_at), default=-NEVER)
    # Who has not validated it itself knows only from the record when it ends.
    late = LATE if (first.host, old.access) in books.validated else LATE + MINUTE
    return (
        books.lease_of(first)[1] == old.access
        and old.dead_at <= first.failed_at
        and old.access not in books.killed
        and first.left_at - lived <= MINUTE
        and not any(lived <= at <= second.left_at for at in books.jumps.get(first.host, ()))
        and not any(lived <= at <= first.left_at for at in refused)
        and not any(first.failed_at <= at <= second.left_at for at in accepted)
        and any(first.failed_at <= at < old.ends_at - late for at in (*dead, second.left_at))
    )


def _unprotected(
    books: Books, ttl: dict[Host, float], old: Pair, first: Request, second: Request
) -> str | None:
    """Its owner could keep nobody from taking over."""
    if _saw_it_killed(books, old, first, second):
        return None
    died = books.died.get(first.host, NEVER)
    stored_at = NEVER if first.pair is None else first.pair.stored_at
    if (
        first.pair
        and stored_at <= second.left_at - GLANCE
        and not _is_seed_leased(books, old, second, stored_at)
    ):
        late = _had_time(books, first.pair, second) or not _in_its_half(books, ttl, second)
        return None if late else STILL
    if died <= second.left_at:
        return DIED
    lease = ttl[first.host]
    still = books.disturbed(first.host, first.left_at - lease, second.left_at)
    if still >= lease * SLACK and not _taken_blindly(books, lease, old, first):
        return STILL
    losses = losses_of(books, old.user, first.left_at - lease, second.left_at)
    taken = [
        (at, host)
        for at, host, token in books.lease_puts
        if token == old.refresh and host is not first.host
    ]
    for loss in losses:
        # Whoever takes the lease after a loss has it, even if it is not the one who sends.
        later = [(since, host) for since, host in taken if since > loss.at]
        until, taker = min(later, key=lambda one: one[0], default=(NEVER, None))
        if taker is not None and _knew_lease(books, old.user, first, loss, taker, until, lease):
            continue
        if not could_act(books, first.host, loss, until):
            return WENT_BACK
    return None


def _is_seed_leased(books: Books, old: Pair, second: Request, at: float) -> bool:
    """Whether the lease on a seed, of which no feed tells, was put before then and not since."""
    leased, _ = books.lease_of(second)
    puts = [
        put
        for put, host, token in books.lease_puts
        if host is second.host and token == old.refresh and put <= second.left_at
    ]
    return (second.host, None, leased) in books.writes and max(puts, default=at) < at


def _taken_blindly(books: Books, ttl: float, old: Pair, first: Request) -> bool:
    """Whether who took the lease over had not seen it stand for its ttl without a long gap."""
    since, _ = books.lease_of(first)
    later = [
        (at, host)
        for (host, name), (at, _) in books.leased[old.refresh].items()
        if at > since and name != books.name_of_lease(first)
    ]
    if not later:
        return False
    taken, taker = min(later, key=lambda one: one[0])
    users = {user for host, user, at in books.writes if host is first.host and at == since}
    writes = [one for one in books.writes if one[1] in users and since <= one[2] < taken]
    if any(host is not first.host for host, _, _ in writes) or losses_of(books, old.user, since):
        return False  # the lease may have stood there no more
    begun = since if None in users else max((at for _, _, at in writes), default=since)
    return books.longest_look(taker, begun, taken, ttl * BLIND) < ttl * BEHELD


def _saw_it_killed(books: Books, old: Pair, first: Request, second: Request) -> bool:
    """Whether who took over had seen the old access token live and, within a minute, dead.

    It knew of the lease by then. The token could not have run out by itself, and no login has made
    that process forget.
    """
    leased = books.leases_seen.get((second.host, books.name_of_lease(first)), NEVER)
    key = (second.host, old.access)
    refused = [at for at in books.refused.get(key, ()) if at <= second.left_at]
    lived = max((at for at in books.accepted.get(key, ()) if at <= second.left_at), default=NEVER)
    killed = min((at for at in refused if at >= lived), default=NEVER)
    forgotten = [
        *books.jumps.get(second.host, ()),
        books.cleared.get(second.host, NEVER),
        *(one.since for one in books.decisions_on(old.user) if one.host is second.host),
    ]
    return (
        key in books.validated
        and old.user not in books.mixed_up
        and not _was_between(books, old, first, second)
        and leased < killed < lived + MINUTE - GLANCE
        and second.left_at < min(killed + LONG, old.ends_at - 2 * LATE)
        and books.lease_of(second)[1] == old.access
        and old.access not in {*books.killed, *books.lied}
        and not any(lived <= at <= second.left_at for at in forgotten)
    )


def _was_between(books: Books, old: Pair, first: Request, second: Request) -> bool:
    """Whether somebody else has had the lease meanwhile, and may have given it back."""
    return any(
        books.lease_of(first)[0] < at < books.lease_of(second)[0]
        and host not in {first.host, second.host}
        for (host, _), (at, _) in books.leased[old.refresh].items()
    )


def _knew_lease(
    books: Books, user: str, first: Request, loss: Loss, taker: Host, at: float, ttl: float
) -> bool:
    """Whether who takes the lease after a loss had seen that of the owner, and so writes it back.

    It is another matter if the lease was due by then, or somebody who had not seen it has written.
    """
    name = books.name_of_lease(first)
    writers = {
        host
        for host, whose, since in books.writes
        if (whose == user or user in books.misplaced) and loss.at <= since < at
    }
    return at - loss.at < ttl and all(
        books.leases_seen.get((host, name), NEVER) < loss.at - UNDER_WAY
        and books.was_open(host, loss.at)
        for host in (taker, *writers)
    )


def _had_time(books: Books, pair: Pair, second: Request) -> bool:
    """Whether a new owner of the lease could see what the one before has written meanwhile.

    One that stands still, or whose feed lags, sees nothing before its request leaves, unless it was
    told by then.
    """
    times = (second.host, pair.stored_at, second.left_at)
    told = pair.holders.get(second.host, NEVER) < second.left_at
    still = 0.0 if told else max(books.disturbed(*times), books.unheard(*times))
    return pair.stored_at <= second.left_at - GLANCE - still


def _forgotten(books: Books, old: Pair, second: Request) -> str | None:
    """The store had forgotten the successor, and nobody who knew it could tell."""
    heirs = books.heirs(old)
    known = min((heir.stored_at for heir in heirs), default=NEVER)
    losses = losses_of(books, old.user, known, second.left_at)
    leased, _ = books.lease_of(second)
    if books.knew_spent(second.host, old, leased):
        return None
    for loss in losses:
        if not any(had_chance(books, loss, heir, leased) for heir in heirs):
            return WENT_BACK
    return None


def _in_its_half(books: Books, ttl: dict[Host, float], request: Request) -> bool:
    """Whether it left in the first half of its lease, as its owner's clocks could tell."""
    leased, _ = books.lease_of(request)
    return request.left_at - leased <= ttl[request.host] / 2


def _untold(books: Books, ttl: dict[Host, float], old: Pair, second: Request) -> str | None:
    """The store had lost its lease, and nobody had told it of that before its request left."""
    leased, _ = books.lease_of(second)
    losses = losses_of(books, old.user, leased, second.left_at)
    untold = any(loss.told.get(second.host, NEVER) >= second.left_at for loss in losses)
    shown = any(one.holders.get(second.host, NEVER) < second.left_at for one in books.heirs(old))
    in_time = _in_its_half(books, ttl, second)
    return WENT_BACK if untold and in_time and not shown else None
