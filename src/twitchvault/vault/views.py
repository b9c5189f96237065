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


class View(dict[str, T]):
    """A dict whose iterators walk over a snapshot, so that it may change meanwhile.

    The mirror writes into it; users read it through a `MappingProxyType`. A lookup is a plain
    dictionary lookup.
    """

    __slots__ = ()

    def copy(self) -> dict[str, T]:
        while True:
            try:
                return dict(dict.items(self))
            except RuntimeError:  # the loop's thread has changed it, while another one copies
                continue

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.copy())

    def keys(self) -> dict_keys[str, T]:
        return self.copy().keys()

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
        return f"<users: {len(self)}>"


class LiveView(View[T]):
    """A view that asks for news before each read, for stores whose changes must be fetched."""

    __slots__ = ("_copying", "_fetch")

    def __init__(self, fetch: Callable[[], None]) -> None:
        super().__init__()
        self._fetch = fetch
        self._copying = False

    def _refresh(self) -> None:
        if not self._copying:
            self._fetch()

    def __getitem__(self, user_id: str) -> T:
        self._refresh()
        return super().__getitem__(user_id)

    def get(self, user_id: str, default: Any = None) -> Any:  # noqa: ANN401  (dict's own signature)
        self._refresh()
        return super().get(user_id, default)

    def __contains__(self, user_id: object) -> bool:
        self._refresh()
        return super().__contains__(user_id)

    def __len__(self) -> int:
        self._refresh()
        return super().__len__()

    def copy(self) -> dict[str, T]:
        self._refresh()
        return super().copy()

    def keys(self) -> dict_keys[str, T]:
        # `dict(view)` takes the keys and then looks all of them up. Who is removed in between must
        # not break the copy: until the loop goes on, reads show what the keys belong to.
        keys = super().keys()
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self.end_copying)
            self._copying = True
        return keys

    def end_copying(self) -> None:
        """From now on ask for news again."""
        self._copying = False
