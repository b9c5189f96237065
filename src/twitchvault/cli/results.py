"""What became of each user of a store, and how that is shown."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import typer

from twitchvault.cli import FAILED
from twitchvault.cli.console import at_terminal, count, say, say_json, say_row, warn
from twitchvault.cli.store import store_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.cli.options import StoreOptions

Outcome = Literal[
    "added",
    "updated",
    "removed",
    "unchanged",
    "newer",
    "unreadable",
    "imported",
    "unvalidated",
    "refused",
    "failed",
]
"""What became of a record that was brought, of a pair that was imported, or of a user.

`added`: nothing stood there. `updated`: something older did. `unchanged`: the very pair did.
`removed`: the user is removed, here or where the record comes from. `newer`: what stands is newer,
or another login; it stays. `unreadable`: one of both cannot be read; what stands stays.
`unvalidated`: Twitch took the access token for expired. `refused`: the pair was not stored.
"""
_WORDS: Final[dict[Outcome, str]] = {
    "added": "added",
    "updated": "updated, an older record stood there",
    "removed": "removed there, and so here",
    "unchanged": "the same stands already",
    "newer": "left as it is",
    "unreadable": "left as it is, for it cannot be read",
}
_LEFT: Final = ("unchanged", "newer", "unreadable")


class Result(NamedTuple):
    """What became of one user's tokens, and why; the id is None as long as it is not known."""

    client_id: str
    user_id: str | None
    login: str | None
    outcome: Outcome
    reason: str = ""

    @property
    def name(self) -> str:
        """What a person calls the one whose tokens they are."""
        if self.user_id is None:
            return "a refresh token whose user is not known yet"
        if self.user_id == self.client_id:
            return f"the application {self.client_id}"
        return f"{self.login} ({self.user_id})" if self.login else self.user_id

    def as_dict(self) -> dict[str, str | None]:
        """The result in the JSON documents."""
        return {**self._asdict(), "reason": self.reason or None}

    def show(self) -> None:
        """Print it: a sentence, or into a pipe the fields of a row."""
        if at_terminal():
            reason = f": {self.reason}" if self.reason else ""
            say(f"{self.name}: {_WORDS.get(self.outcome, self.outcome)}{reason}")
        else:
            user = self.login or self.user_id, self.user_id
            say_row(*user, self.outcome, self.client_id, self.reason)


def show_results(results: Sequence[Result], options: StoreOptions, json: bool) -> None:
    """Print all of them, or one JSON document."""
    if json:
        say_json({"store": store_name(options), "users": [one.as_dict() for one in results]})
    for one in () if json else results:
        one.show()


def in_words(results: Sequence[Result]) -> str:
    """How many records came to which end; those of which nothing was written in brackets."""
    counts: Counter[str] = Counter(one.outcome for one in results)
    words = {name: f"{counts[name]} {name}" for name in _WORDS if counts[name]}
    if counts["removed"]:
        words["removed"] = count(counts["removed"], "removal")
    left = [words.pop(name) for name in _LEFT if name in words]
    brought = ", ".join(words.values()) or "nothing new"
    return f"{brought} ({', '.join(left)})" if left else brought


def fail_if_unreadable(results: Sequence[Result]) -> None:
    """Exit code 2 if a record could not be read."""
    if names := [one.name for one in results if one.outcome == "unreadable"]:
        warn(f"twitchvault: could not be read, and left as they are: {', '.join(names)}")
        raise typer.Exit(FAILED)
