"""The dictionaries behind the views: read at dictionary speed, safe to iterate, quiet in a repr."""
# ruff: noqa: D102  (they are a dict's own methods)

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values
    from collections.abc import Callable, Iterator

__all__ = ["LiveView", "View"]

T = TypeVar("T")


def _snapshot(view: dict[str, T]) -> dict[str, T]:
    while True:
        try:
            return dict(dict.items(view))
        except RuntimeError:  # it was changed meanwhile, by the loop, while another thread reads
            continue


class View(dict[str, T]):
    """A dict whose iterators walk over a snapshot, so that it may change meanwhile.

    Single lookups are inherited, not overridden: they run at the speed of a plain dict.
    """

    __slots__ = ("_copied", "_fetch", "_order")

    def __init__(self, fetch: Callable[[], None]) -> None:
        super().__init__()
        self._fetch = fetch
        self._copied: dict[str, T] = {}
        self._order: Iterator[str] = iter(())

    def __iter__(self) -> Iterator[str]:
        return iter(_snapshot(self))

    def __reversed__(self) -> Iterator[str]:
        return reversed(_snapshot(self))

    def keys(self) -> dict_keys[str, T]:
        return _snapshot(self).keys()

    def items(self) -> dict_items[str, T]:
        return _snapshot(self).items()

    def values(self) -> dict_values[str, T]:
        return _snapshot(self).values()

    def copy(self) -> dict[str, T]:
        return _snapshot(self)

    def __repr__(self) -> str:
        return f"<{super().__len__()} users>"


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

    def __missing__(self, user_id: str) -> T:
        return self._copied[user_id]

    def get(self, user_id: str, default: Any = None) -> Any:  # noqa: ANN401  (dict's own signature)
        self._fetch()
        return super().get(user_id, default)

    def __contains__(self, user_id: object) -> bool:
        self._fetch()
        return super().__contains__(user_id)

    def __len__(self) -> int:
        self._fetch()
        return super().__len__()

    def __iter__(self) -> Iterator[str]:
        self._fetch()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._fetch()
        return super().__reversed__()

    def keys(self) -> dict_keys[str, T]:
        self._fetch()
        # `dict(view)` takes the keys and then looks all of them up, in order. Who is removed in
        # between must not break the copy: for just that walk what the keys belonged to is found.
        self._copied = _snapshot(self)
        self._order = iter(list(self._copied))
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self._forget_copy)
            return self._copied.keys()
        copied, self._copied = self._copied, {}
        return copied.keys()

    def _forget_copy(self) -> None:
        self._copied = {}

    def items(self) -> dict_items[str, T]:
        self._fetch()
        return super().items()

    def values(self) -> dict_values[str, T]:
        self._fetch()
        return super().values()

    def copy(self) -> dict[str, T]:
        self._fetch()
        return super().copy()

    def __eq__(self, other: object) -> bool:
        self._fetch()
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]
