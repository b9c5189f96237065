"""A write that waits or is under way: what `SQLiteStore` gives to who asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Writing"]


class Writing(asyncio.Future[int]):
    """The version that a put will have, or whether a delete found something.

    A future, and usable wherever a coroutine is.

    `asyncio.gather` makes a task of each coroutine but takes a future as it is, and a thousand
    tasks take longer than storing a thousand entries. `create_task` and the like want a coroutine,
    which is what `TokenStore` promises; driven as one, it ends as the write does.
    """

    __slots__ = ("expect", "key", "value")

    key: str
    value: bytes | None
    """None: a delete."""
    expect: int | None

    def send(self, value: None) -> Any:  # noqa: ANN401 - as of any coroutine
        """Go on waiting for the write."""
        return self.__await__().send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 - as of any coroutine
        """Stop waiting for the write, which is taken back if it has not begun."""
        self.cancel()
        return self.__await__().throw(*error)

    def close(self) -> None:
        """Take the write back if it has not begun."""
        self.cancel()


Coroutine.register(Writing)
