"""After a store has lost data: who could have given it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.facts import NEVER

if TYPE_CHECKING:
    from tests.simulation.books import Books
    from tests.simulation.facts import Loss, Pair
    from tests.simulation.host import Host

__all__ = ["could_act", "had_chance", "losses_of"]

CHANCE: Final = 0.5
"""Seconds of undisturbed running in which a process that is told of a loss writes back."""


def losses_of(books: Books, user: str, since: float, until: float = NEVER) -> list[Loss]:
    """The losses in this time that may concern a user."""
    return [
        loss
        for loss in books.losses
        if since <= loss.at <= until and (loss.concerns(user) or user in books.misplaced)
    ]


def had_chance(books: Books, loss: Loss, pair: Pair, until: float) -> bool:
    """Whether somebody who had the pair could write it back after a loss."""
    # Once the user is removed there is nothing left to write back.
    removed = books.removed(pair.user)
    until = min([until, *(at for at in removed if at > loss.at)])
    return any(
        since <= loss.at and books.was_open(host, loss.at) and could_act(books, host, loss, until)
        for host, since in pair.holders.items()
    )


def could_act(books: Books, host: Host, loss: Loss, until: float) -> bool:
    """Whether a process was told of a loss in time, and could do something about it."""
    told = loss.told.get(host, NEVER)
    done = told + CHANCE
    return done < min(until, books.died.get(host, NEVER)) and not books.disturbed(host, told, done)
