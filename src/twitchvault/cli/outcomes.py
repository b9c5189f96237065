"""How it is shown what became of the records that a command brought into a store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import typer

from twitchvault.cli.console import FAILED, at_terminal, count, progress, say, say_row, warn
from twitchvault.cli.transfer import Brought, bring, holder_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.cli.transfer import Holder
    from twitchvault.stores import Entry, TokenStore

__all__ = [
    "as_dict",
    "bring_all",
    "fail_if_unreadable",
    "in_words",
    "name_of",
    "records_in",
    "show_outcome",
]

_WORDS: Final = {
    "added": "added",
    "updated": "updated, an older record stood there",
    "unchanged": "the same stands already",
    "removed": "removed there, and so here",
    "newer": "left as it is",
    "unreadable": "left as it is, for it cannot be read",
}
_LEFT: Final = ("unchanged", "newer", "unreadable")


def records_in(entries: Sequence[Entry]) -> int:
    """How many of these entries are records."""
    return sum(holder_of(entry.key) is not None for entry in entries)


async def bring_all(
    text: str, entries: Sequence[Entry], target: TokenStore, *, dry_run: bool = False
) -> list[Brought]:
    """Bring all records into a store, with a progress bar; what became of each."""
    results: list[Brought] = []
    with progress(text, records_in(entries)) as step:
        async for one in bring(entries, target, dry_run=dry_run):
            results.append(one)
            step()
    return results


def name_of(holder: Holder, login: str | None = None) -> str:
    """What a person calls the one whose record it is."""
    if holder.user_id is None:
        return "a refresh token whose user is not known yet"
    if holder.is_app:
        return f"the application {holder.client_id}"
    return f"{login} ({holder.user_id})" if login else holder.user_id


def show_outcome(one: Brought) -> None:
    """Print what became of a record: a sentence, or into a pipe the fields of a row."""
    if at_terminal():
        reason = f": {one.reason}" if one.reason else ""
        say(f"{name_of(one.holder, one.login)}: {_WORDS[one.outcome]}{reason}")
    else:
        user_id, client_id = one.holder.user_id or "", one.holder.client_id
        say_row(one.login or user_id, user_id, one.outcome, client_id, one.reason)


def as_dict(one: Brought) -> dict[str, str | None]:
    """What became of a record, in the JSON documents."""
    return {
        "client_id": one.holder.client_id,
        "user_id": one.holder.user_id,
        "login": one.login,
        "outcome": one.outcome,
        "reason": one.reason or None,
    }


def in_words(results: Sequence[Brought]) -> str:
    """How many records came to which end; those of which nothing was written in brackets."""
    counts: Counter[str] = Counter(one.outcome for one in results)
    words = {name: f"{counts[name]} {name}" for name in _WORDS if counts[name]}
    if counts["removed"]:
        words["removed"] = count(counts["removed"], "removal")
    left = [words.pop(name) for name in _LEFT if name in words]
    brought = ", ".join(words.values()) or "nothing new"
    return f"{brought} ({', '.join(left)})" if left else brought


def fail_if_unreadable(results: Sequence[Brought]) -> None:
    """Exit code 2 if a record could not be read."""
    if names := [name_of(one.holder) for one in results if one.outcome == "unreadable"]:
        warn(f"twitchvault: could not be read, and left as they are: {', '.join(names)}")
        raise typer.Exit(FAILED)
