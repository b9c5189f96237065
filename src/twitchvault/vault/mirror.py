"""The in-process picture of the store: what the views show.

Two layers. Below are the records that the store has confirmed; a change counts only if its version
is larger than the known one, so order and repetition do not matter. Above it is `pending`: what
this process has changed and the store has not confirmed yet.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from twitchvault.errors import DecryptionError, StoreError, fresh_copy
from twitchvault.vault.events import changes_of
from twitchvault.vault.losses import reconciled
from twitchvault.vault.record import NewerRecord, decode, fingerprint, visible
from twitchvault.vault.views import LiveView, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twitchvault.stores.base import Change, Entry
    from twitchvault.vault.events import Events, Origin
    from twitchvault.vault.record import Record
    from twitchvault.vault.transitions import Transition

__all__ = ["Mirror"]

_logger = logging.getLogger(__name__)

NOTHING: Final = (0, None)
"""The version and record of a user who is not known."""


class Mirror:
    """Every user's record as far as this process knows, projected into the views.

    `live`: the store's changes must be fetched, so a view asks for news before each read.
    `on_loss` is called with a user whose record the store may have lost, `on_change` with one whose
    record has changed. `cleared`: the picture says nothing about the store; `clears` counts how
    often. `has_lost`: the store was found to have lost data.
    """

    on_loss: Callable[[str], None]

    def __init__(self, client_id: str, events: Events, *, live: bool) -> None:
        self.client_id = client_id
        self._prefix = f"{client_id}:"
        self._cut = len(self._prefix)
        self._events = events
        self._held: dict[str, tuple[int, Record | None]] = {}
        self._pending: dict[str, tuple[Transition, Record | None]] = {}
        self._writing: dict[str, bytes | None] = {}
        self._arrived: dict[str, bytes | None] = {}
        self._waiters: dict[str, asyncio.Event] = {}
        self._drain: Callable[[], list[Change]] | None = None
        self._thread = 0
        self.cleared = False
        self.clears = 0
        self.has_lost = False
        self.on_change: Callable[[str], None] | None = None

        def view() -> Any:  # noqa: ANN401  (a View of any values)
            return LiveView(self.fetch) if live else View()

        self._tokens: View[tuple[str, str | None]] = view()
        self._validity: View[tuple[float, float]] = view()
        self._scopes: View[tuple[str, ...]] = view()
        self._needs_login: View[str] = view()
        self._damaged: View[StoreError] = view()
        shown = (self._tokens, self._validity, self._scopes, self._needs_login)
        self._views: tuple[View[Any], ...] = (*shown, self._damaged)
        self.tokens = MappingProxyType(self._tokens)
        self.validity = MappingProxyType(self._validity)
        self.scopes = MappingProxyType(self._scopes)
        self.needs_login = MappingProxyType(self._needs_login)
        self.damaged = MappingProxyType(self._damaged)

    # Reading

    def fetch(self) -> None:
        """Take in what can be known without waiting. A store that is down is no error here."""
        # Only the loop's own thread may change the picture; another one reads it as it stands.
        drain = self._drain
        if drain is None or threading.get_ident() != self._thread:
            return
        try:
            changes = drain()
        except StoreError:
            return  # the watcher meets it too, reports it and tries again
        except Exception as error:
            _logger.warning("the feed's drain() failed: %s", type(error).__name__)
            self._drain = None
            return
        if changes:
            self.apply(changes)

    def read_with(self, drain: Callable[[], list[Change]] | None) -> None:
        """From now on ask `drain` for news before a read; None: the watcher brings them."""
        self._drain = drain
        self._thread = threading.get_ident()
        for view in self._views:
            if isinstance(view, LiveView):
                view.end_copying()  # the loop that was to end it may be gone

    def get(self, user_id: str) -> Record | None:
        """The record of a user as shown, or None; raises the error of a damaged one."""
        self.fetch()
        error = dict.get(self._damaged, user_id)
        if error is not None:
            raise fresh_copy(error)
        return self.peek(user_id)

    def peek(self, user_id: str) -> Record | None:
        """As `get`, but of what is known already, and None of a damaged one."""
        return visible(self._latest(user_id))

    def confirmed(self, user_id: str) -> Record | None:
        """The record that the store has confirmed, a removed one too."""
        return self._held.get(user_id, NOTHING)[1]

    def version(self, user_id: str) -> int:
        """The newest version known of this user, 0 if none."""
        return self._held.get(user_id, NOTHING)[0]

    def is_damaged(self, user_id: str) -> bool:
        """Whether the store holds something unreadable for this user."""
        return dict.__contains__(self._damaged, user_id)

    def count(self) -> tuple[dict[str, int], float | None]:
        """How many users there are, by state, and the oldest validation, in epoch seconds."""
        self.fetch()
        users = self._tokens.keys() - {self.client_id}
        needing, damaged = len(self._needs_login), len(self._damaged)
        counts = {"live": len(users) - needing, "needs_login": needing, "damaged": damaged}
        times = [at for user_id, (at, _) in self._validity.items() if user_id in users]
        return counts, min(times, default=None)

    def readable_elsewhere(self) -> str | None:
        """A user whose record other processes can read, by their keys or version, or None."""
        self.fetch()
        kinds, errors = (DecryptionError, NewerRecord), dict.items(self._damaged)
        return next((one for one, error in errors if isinstance(error, kinds)), None)

    def is_leaving(self, user_id: str) -> bool:
        """Whether this process has removed the user and the store has not confirmed it yet."""
        if self.is_damaged(user_id):
            return False  # what waits is no removal: that shows instead of the damage
        return user_id in self._pending and self.peek(user_id) is None

    def users(self) -> list[str]:
        """The ids of all whose record is held or damaged, the client id and removed users too."""
        return [
            user_id
            for user_id, (_, record) in self._held.items()
            if record is not None or self.is_damaged(user_id)
        ]

    def find(
        self, matches: Callable[[Record], bool], but: str | None = None, *, durable: bool = False
    ) -> str | None:
        """Another user with such a record, a removed one too. Looks at all: for rare questions.

        `durable`: one that the store has confirmed.
        """
        self.fetch()
        for user_id in {**self._pending, **self._held}:
            record = self.confirmed(user_id) if durable else self._latest(user_id)
            if record is not None and user_id != but and matches(record):
                return user_id
        return None

    def holder(self, token: str) -> str | None:
        """The user whose record holds this refresh token, or else remembers it as that user's."""
        mark = fingerprint(token)
        own = self.find(lambda one: one.refresh_token == token and mark not in one.foreign)
        return own or self.find(lambda one: one.outlived(mark) and mark not in one.foreign)

    def wrong_spender(self, token: str) -> str | None:
        """The user as whose this refresh token was exchanged though it is somebody else's."""
        mark = fingerprint(token)
        return self.find(lambda one: mark in one.foreign and one.has_spent(mark))

    # Changes of the store

    def fill(self, entry: Entry, *, quiet: bool) -> str:
        """Take in what a scan has found; returns whose it is.

        `quiet`: it was there before, so it is no event.
        """
        key, version, value = entry
        user_id = key[self._cut :]
        if user_id in self._held or self._pending or self.cleared or not quiet:
            self.apply((entry,))
            if quiet and version < self.version(user_id):
                self.on_loss(user_id)  # the store may have gone back in time: a read will tell
            return user_id
        try:
            record = decode(value, user_id)
        except StoreError as error:
            self.learn_damage(user_id, error, version=version)
            return user_id
        # When a flow opens, all users pass through here: each step counts a hundred thousand times.
        self._held[user_id] = version, record
        if record.state != "removed":
            self._show(user_id, record)
        return user_id

    def apply(self, changes: Iterable[Change | Entry]) -> None:
        """Take in what a feed or a scan brought."""
        for key, version, value in changes:
            if not key.startswith(self._prefix):  # a store that does not keep to the prefix
                continue
            user_id = key[self._cut :]
            if version <= self.version(user_id) and not self.is_damaged(user_id):
                continue
            ours = user_id in self._writing and self._writing[user_id] == value
            if ours:
                self._arrived[user_id] = value
            origin: Origin = "local" if ours else "remote"
            try:
                record = None if value is None else decode(value, user_id)
            except StoreError as error:
                self.learn_damage(user_id, error, origin, version=version)
            else:
                self.learn(user_id, version, record, origin)

    def learn(self, user_id: str, version: int, record: Record | None, origin: Origin) -> None:
        """The store holds `record` at `version` (None: deleted). Older news changes nothing."""
        if self.cleared:
            self._wake(user_id)
            return
        known, before = self._held.get(user_id, NOTHING)
        # What could not be read at this version may be readable by now.
        if version < known or (version == known and not self.is_damaged(user_id)):
            return
        after = reconciled(record, before, lost=self.has_lost and known > 0)
        if after is not record:
            self.on_loss(user_id)  # the store went back in time, and gets this
        self._set(user_id, version, after, origin)
        self._wake(user_id)

    def learn_lost(self, user_id: str, value: bytes) -> None:
        """The store held this before it lost data: a larger generation is to be written back."""
        newest, held = self._held.get(user_id, NOTHING)
        with suppress(StoreError):
            lost = decode(value, user_id)
            if held is not None and lost.order > held.order:
                self._set(user_id, newest, reconciled(held, lost), "remote")
                self.on_loss(user_id)

    def learn_damage(
        self, user_id: str, error: StoreError, origin: Origin = "remote", *, version: int = 0
    ) -> None:
        """The store holds something unreadable for this user.

        What is held here stays aside, to be written back if that something goes.
        """
        if self.cleared:
            return
        newest, record = self._held.get(user_id, NOTHING)
        self._held[user_id] = max(version, newest), record
        known = dict.get(self._damaged, user_id)
        self._damaged[user_id] = fresh_copy(error)
        self._project(user_id)
        self._wake(user_id)
        if known is None or str(known) != str(error):
            self._events.emit("damaged", user_id, origin, str(error))

    def forget(self, user_id: str, origin: Origin, *, known: int) -> None:
        """The store holds nothing for this user any more, at a version we were not told.

        Unless something newer than version `known` has been heard of meanwhile.
        """
        if (version := self.version(user_id)) > known:
            return
        self._set(user_id, version, None, origin)
        self._wake(user_id)

    def forget_deletes(self) -> None:
        """The store has lost data: its versions go on below those of deletes that it knew."""
        self._held = {user_id: self._held[user_id] for user_id in self.users()}

    def clear(self) -> None:
        """Forget everything, and show only what this process adds."""
        self.cleared = True
        self.clears += 1
        self._held.clear()
        self._pending.clear()
        for view in self._views:
            view.clear()

    def reveal(self) -> None:
        """Show what the store holds again, from now on. Its versions may begin anew."""
        self.cleared = False
        self._held = {user_id: (0, record) for user_id, (_, record) in self._held.items()}

    # Changes of this process

    def set_pending(self, user_id: str, apply: Transition, *, overrides_damage: bool) -> None:
        """Show what `apply` makes of the confirmed record until the store has confirmed it.

        While the mirror is cleared, only what the user of the vault has asked for is shown.
        """
        if self.cleared and not overrides_damage:
            return
        if overrides_damage:
            self._damaged.pop(user_id, None)
        self._pending[user_id] = apply, None
        self._project(user_id)

    def drop_pending(self, user_id: str) -> None:
        """The store has confirmed: show what it holds."""
        if self._pending.pop(user_id, None) is not None:
            self._project(user_id)

    def begin_write(self, user_id: str, value: bytes | None) -> None:
        """This process is about to write these bytes: their change will be of local origin."""
        self._writing[user_id] = value
        self._arrived.pop(user_id, None)

    def end_write(self, user_id: str, value: bytes | None) -> None:
        """What comes from now on was written by others, unless another write has begun since."""
        if self._writing.get(user_id) == value:
            self._writing.pop(user_id, None)
            self._arrived.pop(user_id, None)

    def has_arrived(self, user_id: str, value: bytes | None) -> bool:
        """Whether the feed has told of a write of these bytes, whatever its answer was."""
        return user_id in self._arrived and self._arrived[user_id] == value

    # Waiting

    async def changed(self, user_id: str, version: int, timeout: float) -> None:
        """Return once something newer than `version` is known of this user, or after `timeout`.

        Only the one job of a user waits for that.
        """
        if self.version(user_id) > version:
            return
        news = self._waiters[user_id] = asyncio.Event()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await news.wait()
        finally:
            self._waiters.pop(user_id, None)

    def _wake(self, user_id: str) -> None:
        if user_id in self._waiters:
            self._waiters[user_id].set()

    # Projection

    def _latest(self, user_id: str) -> Record | None:
        """The record as it will be once all that is pending is written."""
        if user_id in self._pending:
            return self._pending[user_id][1]
        return None if self.is_damaged(user_id) else self.confirmed(user_id)

    def _set(self, user_id: str, version: int, record: Record | None, origin: Origin) -> None:
        before = self.confirmed(user_id)
        self._held[user_id] = version, record
        self._damaged.pop(user_id, None)
        self._project(user_id)
        is_app = user_id == self.client_id
        for kind, reason in changes_of(before, record, is_app=is_app):
            self._events.emit(kind, user_id, origin, reason)

    def _project(self, user_id: str) -> None:
        record = None if self.is_damaged(user_id) else self.confirmed(user_id)
        if user_id in self._pending:
            apply, _ = self._pending[user_id]
            record = apply(record)
            self._pending[user_id] = apply, record
        if record is None or record.state == "removed":
            for view in (self._tokens, self._validity, self._scopes, self._needs_login):
                view.pop(user_id, None)
        else:
            self._show(user_id, record)
        if self.on_change is not None:
            self.on_change(user_id)

    def _show(self, user_id: str, record: Record) -> None:
        self._tokens[user_id] = (record.access_token, record.refresh_token)
        if record.last_validated is None:
            self._validity.pop(user_id, None)
            self._scopes.pop(user_id, None)
        else:
            self._validity[user_id] = (record.last_validated, record.expires_in)
            if user_id != self.client_id:  # the app token has no scopes
                self._scopes[user_id] = record.scopes or ()
        if record.state == "needs_login":
            self._needs_login[user_id] = record.reason
        else:
            self._needs_login.pop(user_id, None)
