"""The one connection that waits for changes, taken from a pool for as long as it is good."""

from __future__ import annotations

import contextlib
from typing import Any, TypeAlias

from twitchvault.stores.redis.failures import DRIVER_ERRORS

__all__ = ["Tap"]

Connection: TypeAlias = Any


class Tap:
    """Runs one blocking command after the other on a connection of its own.

    Not by the client's `execute_command`: that would repeat the command on a new connection without
    a word, and hand back a connection that still waits when its caller is cancelled.
    """

    def __init__(self, pool: Any) -> None:  # noqa: ANN401 - the driver's pools have no common type
        self._pool = pool
        self._connection: Connection = None

    async def run(self, *command: bytes | str | int) -> object:
        """The answer to a command, not decoded; errors are the driver's and end the connection."""
        try:
            if self._connection is None:
                self._connection = await self._take()
            await self._connection.send_command(*command)
            return await self._connection.read_response(disable_decoding=True)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give the connection back, closed: something may still be on its way over it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # The pool may have been closed meanwhile, and know the connection no more.
            with contextlib.suppress(*DRIVER_ERRORS, KeyError, ValueError, AssertionError):
                await connection.disconnect(nowait=True)
                await self._pool.release(connection)

    async def _take(self) -> Connection:
        try:
            return await self._pool.get_connection()
        except TypeError:  # redis-py before 5.3 wants the command's name, later ones warn of it
            return await self._pool.get_connection("XREAD")
