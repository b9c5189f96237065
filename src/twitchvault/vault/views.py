"""The dictionaries behind the views: read at dictionary speed, safe to iterate, quiet in a repr."""
# ruff: noqa: D102  (they are a dict's own methods)

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twitchvault.vault.record import TokenPair

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values
    from collections.abc import Callable, Iterator, Mapping

    from twitchvault.vault.backlog import Backlog
    from twitchvault.vault.record import Record

__all__ = ["LiveView", "Shown", "View", "packed", "unpacked"]

SEPARATOR: Final = "\n"

T = TypeVar("T")


class View(dict[str, T]):
    """What users read: it shows what `held` holds, as `show` makes it.

    As a dict it holds only what was looked up before, so that a lookup runs at the speed of a plain
    dict, without a method. What nobody has looked up stays a plain value in a plain dict, which
    garbage collection passes by: 100,000 objects would make it hold the loop.

    Its iterators walk over a snapshot, so that it may change meanwhile.
    """

    __slots__ = ("_backlog", "_copied", "_fetch", "_order", "_show", "held")

    def __init__(
        self,
        fetch: Callable[[], None],
        backlog: Backlog,
        show: Callable[[Any], T] = lambda value: value,
    ) -> None:
        super().__init__()
        self.held: dict[str, Any] = {}
        self._fetch = fetch
        self._backlog = backlog
        self._show = show
        self._copied: dict[str, T] = {}
        self._order: Iterator[str] = iter(())

    def hold(self, values: Mapping[str, object]) -> None:
        """From now on show these values."""
        self.held.update(values)
        if super().__len__():
            for user_id in values:
                super().pop(user_id, None)

    def drop(self, user_id: str) -> None:
        """From now on show nothing."""
        self.held.pop(user_id, None)
        super().pop(user_id, None)

    def clear(self) -> None:
        self.held.clear()
        super().clear()

    def __missing__(self, user_id: str) -> T:
        self._backlog.look(user_id)
        try:
            value = self.held[user_id]
        except KeyError:
            return self._copied[user_id]
        shown = self._show(value)
        self[user_id] = shown
        if self.held.get(user_id) is not value:  # changed by the loop, while another thread reads
            super().pop(user_id, None)
        return shown

    def get(self, user_id: str, default: Any = None) -> Any:  # noqa: ANN401  (dict's own signature)
        try:
            return self[user_id]
        except KeyError:
            return default

    def __contains__(self, user_id: object) -> bool:
        self._backlog.look(user_id)
        return user_id in self.held

    def __len__(self) -> int:
        self._backlog.look_all()
        return len(self.held)

    def copy(self) -> dict[str, T]:
        show = self._show
        return {user_id: show(value) for user_id, value in self._snapshot().items()}

    def _snapshot(self) -> dict[str, Any]:
        self._backlog.look_all()
        while True:
            try:
                return self.held.copy()
            except RuntimeError:  # as above
                continue

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._snapshot())

    def keys(self) -> dict_keys[str, T]:
        return self._snapshot().keys()

    def items(self) -> dict_items[str, T]:
        return self.copy().items()

    def values(self) -> dict_values[str, T]:
        return self.copy().values()

    def __eq__(self, other: object) -> bool:
        return self.copy() == other

    def __ne__(self, other: object) -> bool:
        return self.copy() != other

    def __or__(self, other: Any) -> Any:  # noqa: ANN401  (dict's own signature)
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:  # noqa: ANN401  (dict's own signature)
        return other | self.copy()

    __hash__ = None

    def __repr__(self) -> str:
        return f"<{View.__len__(self)} users>"


class LiveView(View[T]):
    """A view that asks for news before each read, for stores whose changes must be fetched.

    It adds no attribute to `View`, so that one object can be turned into the other.
    """

    __slots__ = ()

    def __getitem__(self, user_id: str) -> T:
        self._fetch()
        if self._copied and next(self._order, None) != user_id:
            self._copied = {}
        return super().__getitem__(user_id)

    def __contains__(self, user_id: object) -> bool:
        self._fetch()
        return super().__contains__(user_id)

    def __len__(self) -> int:
        self._fetch()
        return super().__len__()

    def keys(self) -> dict_keys[str, T]:
        # `dict(view)` takes the keys and then looks all of them up, in order. Who is removed in
        # between must not break the copy: for just that walk what the keys belonged to is found.
        copied = self.copy()
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self._forget_copy)
            self._copied, self._order = copied, iter(list(copied))
        return copied.keys()

    def _forget_copy(self) -> None:
        self._copied = {}

    def _snapshot(self) -> dict[str, Any]:
        self._fetch()
        return super()._snapshot()


class Shown:
    """The views of the readable records: what users see of each."""

    def __init__(self, client_id: str, fetch: Callable[[], None], backlog: Backlog) -> None:
        self.tokens: View[TokenPair] = View(fetch, backlog, unpacked)
        self.validity: View[tuple[float, float]] = View(fetch, backlog)
        self.scopes: View[tuple[str, ...]] = View(fetch, backlog)
        self.views = (self.tokens, self.validity, self.scopes)
        self._client_id = client_id
        self._scopes_seen: dict[tuple[str, ...], tuple[str, ...]] = {}

    def show(self, records: dict[str, Record]) -> None:
        """From now on show these users as their records say."""
        told = {one: record for one, record in records.items() if record.last_validated is not None}
        if len(told) < len(records):
            for user_id in records.keys() - told.keys():
                self.validity.drop(user_id)
                self.scopes.drop(user_id)
        self.tokens.hold(
            {one: packed(r.access_token, r.refresh_token) for one, r in records.items()}
        )
        self.validity.hold({one: (r.last_validated, r.expires_in) for one, r in told.items()})
        told.pop(self._client_id, None)  # the app token has no scopes
        scopes, seen = {one: r.scopes or () for one, r in told.items()}, self._scopes_seen
        self.scopes.hold({one: seen.setdefault(some, some) for one, some in scopes.items()})

    def drop(self, user_id: str) -> None:
        """From now on show nothing of this user."""
        for view in self.views:
            view.drop(user_id)


def packed(access: str, refresh: str | None) -> str | TokenPair:
    """As one string, if it can be one: for the garbage collector a string is nothing to look at."""
    if SEPARATOR in access or (refresh is not None and SEPARATOR in refresh):
        return TokenPair(access, refresh)
    return access if refresh is None else f"{access}{SEPARATOR}{refresh}"


def unpacked(held: str | TokenPair) -> TokenPair:
    """The pair that `packed` has packed."""
    if not isinstance(held, str):
        return held
    access, separator, refresh = held.partition(SEPARATOR)
    return TokenPair(access, refresh if separator else None)
