"""The in-process picture of the store: what the views show.

Two layers. Below: the newest known version of each user's record; a change counts only if its
version is larger than the known one, so order and repetition do not matter. Above it: `pending`,
what this process has changed but the store has not confirmed yet; it shows at once.
"""

from __future__ import annotations

import logging
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING

from twitchvault.errors import StoreError, again
from twitchvault.stores.base import Change, Unreadable
from twitchvault.stores.pages import Page
from twitchvault.vault.backlog import Backlog
from twitchvault.vault.events import kind_of
from twitchvault.vault.record import Decoder, decode, encode, quoted
from twitchvault.vault.scan import Scan
from twitchvault.vault.views import LiveView, Shown, View
from twitchvault.vault.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.vault.events import Events, Origin
    from twitchvault.vault.record import Record

__all__ = ["Mirror"]

_logger = logging.getLogger(__name__)


class Mirror:
    """Every user's record as far as this process knows, projected into the views."""

    def __init__(self, client_id: str, events: Events) -> None:
        self._client_id = client_id
        self._prefix = len(client_id) + 1
        self._events = events
        # As stored, not as objects: nothing for the garbage collector to look into again and again.
        # With 100,000 objects a full collection would hold the loop.
        self._records: dict[str, bytes] = {}
        self._decode = Decoder()
        self._versions: dict[str, int] = {}
        self._pending: dict[str, Callable[[Record | None], Record | None]] = {}
        self._writing: dict[str, bytes | None] = {}
        self._waiters = Waiters()
        self._drain: Callable[[], list[Change]] | None = None
        self._complained = False
        self._thread = 0
        self._scans: list[Scan] = []
        self._hidden = False
        self.on_change: Callable[[str], None] = lambda _user_id: None
        self._backlog = Backlog(self)
        self._shown = Shown(client_id, self.fetch, self._backlog)
        self._damaged: View[StoreError] = View(self.fetch, self._backlog)
        self.tokens = MappingProxyType(self._shown.tokens)
        self.validity = MappingProxyType(self._shown.validity)
        self.scopes = MappingProxyType(self._shown.scopes)
        self.damaged: MappingProxyType[str, StoreError] = MappingProxyType(self._damaged)

    def read_with(self, drain: Callable[[], list[Change]] | None) -> None:
        """From now on ask `drain` for news before a read; None: news come by themselves."""
        self._drain = drain
        self._complained = False
        self._thread = threading.get_ident()
        # The views that users hold stay the same objects. Only stores that must be asked pay for
        # the asking: the others' reads are plain dictionary lookups.
        kind = View if drain is None else LiveView
        for view in (*self._shown.views, self._damaged):
            view.__class__ = kind  # type: ignore[assignment]

    def fetch(self) -> None:
        """Take in what can be known without waiting. A backend that is down is no error here."""
        # Only the loop's own thread may change the picture; another one reads it as it stands.
        if self._drain is None or threading.get_ident() != self._thread:
            return
        try:
            changes = self._drain()
        except StoreError:
            return  # the pump meets it too, tells of it and tries on
        except Exception as error:
            if not self._complained:
                self._complained = True
                what = type(error).__name__
                _logger.warning("the feed's drain() failed with %s: reads may lag behind", what)
            return
        if changes:
            self.apply(changes)

    def get(self, user_id: str) -> Record | None:
        """The record of a user as shown, or None; raises the error of a damaged one."""
        self.fetch()
        record = self.peek(user_id)
        error = self._damaged.held.get(user_id)
        if record is None and error is not None:
            raise again(error)
        return record

    def peek(self, user_id: str) -> Record | None:
        """As `get`, but of what is known already, and None of a damaged one."""
        return _visible(self._folded(user_id, self.stored(user_id)))

    def validated(self, user_id: str) -> tuple[float, float] | None:
        """What the view of validity shows, as known already; for questions about all users."""
        shown: tuple[float, float] | None = self._shown.validity.held.get(user_id)
        return shown

    def stored(self, user_id: str) -> Record | None:
        """The record below what is pending, a removed one too."""
        self._backlog.look(user_id)
        value = self._records.get(user_id)
        if value is None or user_id in self._damaged.held:
            return None
        return self._decode(value, user_id)

    def version(self, user_id: str) -> int:
        """The newest version known of this user, 0 if none."""
        return self._versions.get(user_id, 0)

    def users(self) -> list[str]:
        """The ids of all users with a record, the client id for the app token.

        Of some it may not be known yet whether theirs is readable.
        """
        return [*self._shown.tokens.held, *self._backlog]

    def known(self) -> list[str]:
        """The ids of all whose record is held, of removed users too."""
        return list(self._records)

    def holder_of(self, *, access: str | None = None, refresh: str | None = None) -> str | None:
        """The user who holds this access or refresh token. Walks over all: for rare questions."""
        self.fetch()
        for user_id in (*self._pending, *self._mentioning(access or refresh or "")):
            record = self.peek(user_id)
            if record is None:
                continue
            if record.access_token == access or (refresh and record.refresh_token == refresh):
                return user_id
        return None

    def heir_of(self, refresh_token: str, mark: str) -> str | None:
        """The user whose record holds this refresh token or, by fingerprint, has spent it."""
        holder = self.holder_of(refresh=refresh_token)
        if holder is not None:
            return holder
        for user_id, fold in self._pending.items():
            record = fold(self.stored(user_id))
            if record is not None and record.has_spent(mark):
                return user_id
        return self.spender_of(mark)

    def spender_of(self, mark: str) -> str | None:
        """The user whose stored record remembers this refresh token as spent, by fingerprint."""
        for user_id in self._mentioning(mark):
            record = self.stored(user_id)
            if record is not None and record.has_spent(mark):
                return user_id
        return None

    def _mentioning(self, text: str) -> list[str]:
        """Those in whose stored records it stands, wherever: decoding all would take a second."""
        needle = quoted(text)
        return (
            [user_id for user_id, value in self._records.items() if needle in value] if text else []
        )

    @property
    def _quiet(self) -> bool:
        return any(scan.quiet for scan in self._scans)

    # Changes of the store

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in what a feed or a scan brought."""
        for change in changes:
            user_id = change.key[self._prefix :]
            if change.version <= self._versions.get(user_id, 0):
                continue
            ours = user_id in self._writing and self._writing[user_id] == change.value
            origin: Origin = "local" if ours else "remote"
            if change.value is None:
                self.learn(user_id, change.version, None, origin)
                continue
            try:
                record = decode(change.value, user_id)
            except StoreError as error:
                self._learn_damage(user_id, change.version, error, origin)
            else:
                self.learn(user_id, change.version, record, origin, change.value)

    def learn(
        self,
        user_id: str,
        version: int,
        record: Record | None,
        origin: Origin,
        value: bytes | None = None,
    ) -> None:
        """The store holds `record` at `version` (None: deleted). Older news changes nothing."""
        if self._hidden and user_id not in self._pending:
            self._waiters.wake(user_id)
            return
        self._backlog.look(user_id)
        known = self._versions.get(user_id, 0)
        # What could not be read at this version may be readable by now.
        if version < known or (version == known and user_id not in self._damaged.held):
            return
        before = None if self._quiet else self.stored(user_id)
        self._note(user_id, version)
        self._damaged.drop(user_id)
        if record is None:
            self._records.pop(user_id, None)
        else:
            self._records[user_id] = encode(record) if value is None else value
        self._project(user_id, record)
        self._tell(user_id, before, record, origin)

    def learn_damage(self, user_id: str, error: StoreError) -> None:
        """The store holds something unreadable for this user, at a version we were not told."""
        self._learn_damage(user_id, self._versions.get(user_id, 0), error, "remote")

    def _learn_damage(self, user_id: str, version: int, error: StoreError, origin: Origin) -> None:
        if self._hidden and user_id not in self._pending:
            return
        self._backlog.look(user_id)
        known = self._damaged.held.get(user_id)
        self._note(user_id, version)
        self._records.pop(user_id, None)
        self._damaged.hold({user_id: again(error)})
        self._project(user_id, None)
        if known is None or str(known) != str(error):
            self._events.emit("damaged", user_id, origin, str(error))

    def _note(self, user_id: str, version: int) -> None:
        self._versions[user_id] = version
        for scan in self._scans:
            scan.tell(user_id)
        self._waiters.wake(user_id)

    def begin_scan(self, *, quiet: bool) -> Scan:
        """From now on note who is mentioned, so that `missing` knows who is gone.

        `quiet`: what is found is no event, it was there before.
        """
        scan = Scan((*self._records, *self._damaged.held), quiet=quiet)
        self._scans.append(scan)
        return scan

    def met(self, scan: Scan, page: Page) -> None:
        """Take in what the scan has come across."""
        start = self._prefix
        if scan.awaited:
            for key in page.keys:
                scan.tell(key[start:])
        if scan.quiet and not self._hidden:
            page = self._fill(page)
        self.apply(map(Change, page.keys, page.versions, page.values))

    def _fill(self, page: Page) -> Page:
        """Note those of whom nothing is known yet; the others are left for a closer look."""
        start = self._prefix
        users = [key[start:] for key in page.keys]
        versions = dict(zip(users, page.versions, strict=True))
        regular = {*map(type, page.values)} <= {bytes, Unreadable}
        if not regular or len(versions) < len(page) or min(page.versions, default=1) <= 0:
            return page  # what a store must not give is told of at once
        found = dict(zip(users, page.values, strict=True))
        special = {self._client_id, *self._pending, *self._waiters} & versions.keys()
        special |= versions.keys() & self._versions.keys()
        for user_id in special:
            del versions[user_id], found[user_id]
        self._versions.update(versions)
        self._records.update(found)
        self._backlog.add(found)
        return Page.of([entry for entry in page if entry.key[start:] in special] if special else [])

    def show_found(self, records: dict[str, Record], damaged: dict[str, StoreError]) -> None:
        """Show what the backlog has read."""
        self._shown.show({one: record for one, record in records.items() if record.shown})
        self._damaged.hold({one: again(error) for one, error in damaged.items()})

    def tell_damaged(self, user_id: str, error: StoreError) -> None:
        """The backlog has read it: no news for a scan, whose version may be another one's."""
        self._records.pop(user_id, None)
        self._project(user_id, None)
        self._events.emit("damaged", user_id, "remote", str(error))

    async def read_all(self) -> None:
        """Decode what opening has found, without holding the loop; reads do it on the spot."""
        await self._backlog.read_all()

    def missing(self, scan: Scan) -> list[str]:
        """Whom neither the scan nor any news since its beginning has mentioned."""
        damaged = self._damaged.held
        return [one for one in scan.awaited if one in self._records or one in damaged]

    def end_scan(self, scan: Scan) -> None:
        """The scan is over, or broke off."""
        self._scans.remove(scan)

    def forget(self, user_id: str, origin: Origin, *, known: int | None = None) -> None:
        """The store holds nothing for this user any more, at a version we were not told.

        Unless something newer than version `known` has been heard of meanwhile.
        """
        if known is not None and self.version(user_id) > known:
            return
        before = self.stored(user_id)
        self._records.pop(user_id, None)
        self._damaged.drop(user_id)
        self._project(user_id, None)
        self._tell(user_id, before, None, origin)

    def clear(self) -> None:
        """Forget everything, and show nothing but what this process adds, until `reveal`."""
        self._hidden = True
        self._backlog.clear()
        self._decode.forget()
        for table in (self._records, self._versions, self._pending):
            table.clear()
        for view in (*self._shown.views, self._damaged):
            view.clear()

    def reveal(self) -> None:
        """Show what the store holds again, from now on."""
        self._hidden = False

    # Changes of this process

    def set_pending(
        self,
        user_id: str,
        fold: Callable[[Record | None], Record | None],
        *,
        asked_for: bool,
    ) -> None:
        """Show what `fold` makes of the stored record until the store has confirmed.

        While the mirror is cleared, only what the user has `asked_for` is shown.
        """
        if self._hidden and not asked_for:
            return
        self._backlog.look(user_id)
        if asked_for:
            self._damaged.drop(user_id)
        self._pending[user_id] = fold
        self._project(user_id, self.stored(user_id))

    def drop_pending(self, user_id: str) -> None:
        """The store has confirmed: show what it holds."""
        self._pending.pop(user_id, None)
        self._project(user_id, self.stored(user_id))

    def begin_write(self, user_id: str, value: bytes | None) -> None:
        """This process is about to write these bytes: their change will be of local origin."""
        self._writing[user_id] = value

    def end_write(self, user_id: str) -> None:
        """What comes from now on was written by others."""
        self._writing.pop(user_id, None)

    async def changed(self, user_id: str, version: int, timeout: float) -> None:
        """Return once something newer than `version` is known of this user, or after `timeout`."""
        if self._versions.get(user_id, 0) > version:
            return
        await self._waiters.wait(user_id, timeout)

    # Projection

    def _folded(self, user_id: str, record: Record | None) -> Record | None:
        fold = self._pending.get(user_id)
        return record if fold is None else fold(record)

    def _project(self, user_id: str, record: Record | None) -> None:
        """Show `record`, unless a pending one stands above it."""
        record = _visible(self._folded(user_id, record))
        if record is None:
            self._shown.drop(user_id)
        else:
            self._shown.show({user_id: record})
        self.on_change(user_id)

    def _tell(
        self, user_id: str, before: Record | None, after: Record | None, origin: Origin
    ) -> None:
        if self._quiet:
            return
        kind = kind_of(_visible(before), _visible(after), app=user_id == self._client_id)
        if kind is not None:
            reason = after.reason if after is not None and kind == "needs_login" else ""
            self._events.emit(kind, user_id, origin, reason)


def _visible(record: Record | None) -> Record | None:
    return None if record is None else record.shown
