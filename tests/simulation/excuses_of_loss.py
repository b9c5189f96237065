"""What is unavoidable, the reasons of `excuses`: lost pairs, and users who have to sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.chances import could_act, had_chance, losses_of
from tests.simulation.excuses import (
    ANSWER,
    BY_ITSELF,
    DIED,
    DOUBT,
    GLANCE,
    LIED,
    OUTSIDE,
    WENT_BACK,
)
from tests.simulation.facts import NEVER

if TYPE_CHECKING:
    from tests.simulation.books import Books
    from tests.simulation.facts import Decision, Pair, Request

__all__ = ["lost", "needs_login", "replaced"]

MINUTE: Final = 60.0
IN_FLIGHT: Final = 45.0
"""Seconds for which an answer may be under way, and the validation after a failure may take."""


def lost(books: Books, pair: Pair, *, public: bool) -> str | None:
    """Why the store does not hold the newest pair of a login; None: that could be avoided."""
    if pair.by is None and not pair.received and pair.place:
        return OUTSIDE
    if _was_given_up(books, pair):
        return LIED
    doubtful = not public and _removed_meanwhile(books, pair)
    if doubtful or _overtaken(books, pair) or _is_older_wanted(books, pair):
        return DOUBT
    if pair.stored_at == NEVER:
        if any(host not in books.died for host in pair.received):
            return None
        return DIED if pair.received else _never_came(books, pair)
    losses = losses_of(books, pair.user, pair.stored_at)
    return None if all(had_chance(books, loss, pair, NEVER) for loss in losses) else WENT_BACK


def _was_given_up(books: Books, pair: Pair) -> bool:
    """Whether Twitch has lied about it. Of a seed that was refused only the fingerprint is left."""
    if pair.refresh in books.refused_falsely:
        replaced = any(
            one.since > pair.stored_at or NEVER > one.ended_at > pair.stored_at
            for one in books.decisions_on(pair.user)
        )
        return replaced or pair.by is None or not pair.published
    return pair.access in books.lied and not pair.published  # it seemed to be spent


def replaced(books: Books, held: list[Pair], last: Decision) -> str | None:
    """Why the store holds a login that came before the last one; None: that could be avoided.

    It had been lost when the last one came. Who still holds it writes it back afterwards. So does
    who knows of a removal.
    """
    removals = [one for one in books.decisions_on(last.user) if not one.chain]
    for removal in removals if not held else ():
        for loss in losses_of(books, last.user, removal.written_at, last.since):
            if not could_act(books, removal.host, loss, last.since):
                return WENT_BACK
    for pair in held:
        line = [one for one in books.pairs if one.chain == pair.chain]
        for loss in losses_of(books, last.user, line[0].issued_at):
            stored = [one for one in line if one.stored_at <= loss.at]
            if stored and loss.at <= last.since:
                newest = max(stored, key=lambda one: one.place)
                if not had_chance(books, loss, newest, last.since):
                    return WENT_BACK
    return None


def _never_came(books: Books, pair: Pair) -> str | None:
    request = pair.by
    if request is None:
        return OUTSIDE
    if request.host in books.died:
        return DIED
    return None if request.abandoned or request.failed_at == NEVER else ANSWER


def _removed_meanwhile(books: Books, pair: Pair) -> bool:
    """Whether the user was removed while this pair was leased or exchanged."""
    removed = books.removed(pair.user)
    return any(
        books.lease_of(one)[0] <= at <= min(one.answered_at, one.failed_at)
        for one in books.requests
        if one.token == pair.refresh and one.left_at < NEVER
        for at in removed
        if at < NEVER
    )


def _is_older_wanted(books: Books, pair: Pair) -> bool:
    """Whether the user was removed since, and an older pair of the same login was added."""
    removed = [one.since for one in books.decisions_on(pair.user) if not one.chain]
    return any(
        one.chain == pair.chain
        and one.place < pair.place
        and any(pair.stored_at < at < one.since for at in removed)
        for one in books.decisions_on(pair.user)
    )


def _overtaken(books: Books, pair: Pair) -> bool:
    """Whether the user was removed while it was on its way: it is dropped, whatever comes later."""
    if pair.by is None:
        return False
    leased, _ = books.lease_of(pair.by)
    removed = books.removed(pair.user)
    return any(leased <= at <= pair.stored_at and at < NEVER for at in removed)


def needs_login(books: Books, pair: Pair, now: float) -> str | None:
    """Why somebody was told to sign in whose refresh token Twitch takes; None: without need."""
    if pair.refresh in books.refused_falsely:
        return LIED
    requests = [one for one in books.requests if one.token == pair.refresh and one.left_at < NEVER]
    if any(_was_lost(books, one) for one in requests):
        # Of a confidential client, whose token is not spent by an exchange: nobody can know that.
        return ANSWER
    if pair.access in books.lied:
        return LIED
    if any(one.refresh == pair.refresh and one.is_from_outside for one in books.pairs):
        # Of a confidential client, whose token goes on: the access token was killed elsewhere.
        return OUTSIDE
    # Twitch still takes the refresh token, so no exchange has killed the access token.
    doubted = any(_died_meanwhile(books, pair, one) for one in requests) or _died_leased(
        books, pair
    )
    return BY_ITSELF if doubted and pair.dead_at <= now else None


def _was_lost(books: Books, request: Request) -> bool:
    """Whether the pair of an exchange has never come, or was dropped for another login's sake."""
    if request.pair is None or request.pair.stored_at < NEVER:
        return False
    unheard = request.answered_at == NEVER or request.host in books.died
    return unheard or books.was_joined(request.pair)


def _died_leased(books: Books, pair: Pair) -> bool:
    """Whether it died while, or just before, a lease stood that nobody ever gave back."""
    condemner = books.condemned.get(pair.refresh)
    return any(
        since <= pair.dead_at + MINUTE
        for (host, _), (since, _) in books.leased.get(pair.refresh, {}).items()
        if host is not condemner
    )


def _died_meanwhile(books: Books, pair: Pair, request: Request) -> bool:
    """Whether the access token died within a minute of the exchange, as nobody could know.

    Or later, if that process had not asked about it since. Whoever knew it to be dead before the
    request left cannot take that for a sign.
    """
    key, left = (request.host, pair.access), request.left_at
    accepted = (at for at in books.accepted.get(key, ()) if at <= left)
    lived = max(accepted, default=-NEVER)  # Twitch may have given the same one once more
    # A 401 of Helix in other words than usual is asked about first.
    knew = any(lived <= at < left - GLANCE for at in books.refused.get(key, ()))
    knew &= books.condemned.get(pair.refresh) is request.host
    if knew or request.answered_at < NEVER:
        return False
    # What is accepted sooner may be an answer from before.
    later = request.failed_at + IN_FLIGHT
    asked = (at for at in books.accepted.get(key, ()) if later <= at <= pair.dead_at)
    until = request.failed_at + MINUTE if any(asked) else NEVER
    return left - MINUTE <= pair.dead_at <= until
