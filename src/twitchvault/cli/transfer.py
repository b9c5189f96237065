"""Records that come from another store or from a backup, and which of two stands in the end.

Nothing that is brought takes the place of something newer: the generations and fingerprints in both
records decide. Each write is a compare-and-set, so others may go on writing meanwhile. The same
call, made again, goes on where it was broken off.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from twitchvault.cli.console import progress
from twitchvault.cli.results import Outcome, Result
from twitchvault.errors import StoreUnavailable, VersionConflict
from twitchvault.stores.base import Entry, Watchable
from twitchvault.vault.losses import reconciled
from twitchvault.vault.record import decode, encode, fingerprint
from twitchvault.vault.repository import UNREADABLE
from twitchvault.vault.transitions import released

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.record import Record

AT_ONCE: Final = 200
"""Records that are written at the same time, which many stores do in one go."""
ROUNDS: Final = 10
"""So often in a row a record is decided on anew, because others have written it meanwhile."""


class Holder(NamedTuple):
    """Whose entry it is; `user_id` is None for a refresh token whose user is not known yet."""

    client_id: str
    user_id: str | None

    @property
    def is_app(self) -> bool:
        """Whether it is the application's own token."""
        return self.user_id == self.client_id


def holder_of(key: str) -> Holder | None:
    """Whose record stands under `key`; None if it holds no record, but e.g. a login under way."""
    client_id, colon, user_id = key.partition(":")
    if colon and user_id and "/" not in client_id:
        return Holder(client_id, user_id)
    client_id, _, rest = key.partition("/")
    return Holder(client_id, None) if rest.startswith("seed/") else None


def decide(standing: Record | None, brought: Record, holder: Holder) -> tuple[Record, Outcome, str]:
    """Which record should stand, what that means for the one that is brought, and why.

    What stands stays, unless the one that is brought descends from it: so an old backup brings back
    neither a spent token nor a user who was removed. A login that both know nothing of each other's
    stays as well, and takes over what the other remembers.
    """
    if standing is None:
        return brought, "removed" if brought.state == "removed" else "added", ""
    record = _successor(standing, brought, holder)
    theirs = brought.pair, brought.state
    if (record.pair, record.state) != theirs:
        return record, "newer", _why_it_stays(standing, brought, holder)
    if brought.state == "removed":
        return record, "removed", ""
    if (standing.pair, standing.state) == theirs:
        return record, "unchanged", ""
    reason = f"generation {record.generation}, in the place of {standing.generation}"
    return record, "updated", reason


def _successor(standing: Record, brought: Record, holder: Holder) -> Record:
    if holder.is_app:
        return standing  # a new one can be had at any time
    if holder.user_id is None:
        return brought if brought.order > standing.order else standing
    if standing.has_spent(fingerprint(brought.refresh_token or "")):
        return standing
    if standing.pair == brought.pair:
        brought = released(brought, brought.lease or "") or brought  # it is over since
    return reconciled(standing, brought) or standing


def _why_it_stays(standing: Record, brought: Record, holder: Holder) -> str:
    if holder.is_app:
        return "the application has a token"
    if standing.state == "removed":
        return "the user was removed since"
    if standing.state == "needs_login":
        return f"the user has to sign in again: {standing.reason}"
    if standing.generation > brought.generation:
        return f"generation {standing.generation} is there, and this one is {brought.generation}"
    return "another login stands"


async def bring(
    text: str, entries: Sequence[Entry], target: TokenStore, *, dry_run: bool = False
) -> list[Result]:
    """Bring the records among `entries` into an open store, with a progress bar of that text.

    Entries that hold no record are passed over. `dry_run`: nothing is written.
    """
    records = [(entry, holder) for entry in entries if (holder := holder_of(entry.key))]
    results: list[Result] = []
    with progress(text, len(records)) as step:
        for start in range(0, len(records), AT_ONCE):
            group = records[start : start + AT_ONCE]
            calls = (_bring(entry, holder, target, dry_run) for entry, holder in group)
            for result in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
                results.append(result)
                step()
    return results


async def _bring(entry: Entry, holder: Holder, target: TokenStore, dry_run: bool) -> Result:
    try:
        brought = _read(entry, holder)
    except UNREADABLE as error:
        return Result(*holder, None, "unreadable", f"as it was brought: {error}")
    for _ in range(ROUNDS):
        try:
            held = await target.get(entry.key)
            standing = None if held is None else _read(held, holder)
        except UNREADABLE as error:
            return Result(*holder, brought.login, "unreadable", f"in the store: {error}")
        record, outcome, reason = decide(standing, brought, holder)
        if not dry_run and record != standing:
            value = entry.value if record is brought else encode(record)
            try:
                await target.put(entry.key, value, expect=0 if held is None else held.version)
            except VersionConflict:
                continue
        return Result(*holder, brought.login, outcome, reason)
    msg = f"the record of {holder.user_id or entry.key!r} is written by others all the time"
    raise StoreUnavailable(msg)


def _read(entry: Entry, holder: Holder) -> Record:
    return decode(entry.value, holder.user_id or entry.key)


def leased(entries: Sequence[Entry]) -> list[Result]:
    """Whose refresh token a process may be exchanging, for their records hold a lease."""
    found = []
    for entry in entries:
        if holder := holder_of(entry.key):
            with suppress(*UNREADABLE):
                record = _read(entry, holder)
                if record.lease is not None:
                    found.append(Result(*holder, record.login, "unchanged"))
    return found


async def snapshot(store: TokenStore) -> list[Entry]:
    """All entries of an open store, as they stood at the end of the call.

    None that moves or is written meanwhile is missing, which a scan alone does not promise: a pair
    whose user was not known moves from the place where it waited to its user's record.
    """
    async with AsyncExitStack() as stack:
        feed = None
        if isinstance(store, Watchable):
            feed = await stack.enter_async_context(store.watch())
        found = await _scanned(store)
        if feed is None:
            return list({**found, **await _scanned(store)}.values())
        for key, version, value in await feed.catch_up():
            if key not in found or found[key].version <= version:
                found.pop(key, None)
                if value is not None:
                    found[key] = Entry(key, version, value)
    return list(found.values())


async def _scanned(store: TokenStore) -> dict[str, Entry]:
    return {entry.key: entry async for entry in store.scan()}
