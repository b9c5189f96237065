"""What an app and the flows made from it share, from `authorize()` to `close()`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.errors import StoreError
from twitchvault.helix.api import AppAPI
from twitchvault.helix.client import HelixClient
from twitchvault.loops import LoopBinding, running_loop

if TYPE_CHECKING:
    from twitchvault.http import HTTPClient
    from twitchvault.identity import Identity
    from twitchvault.stores.base import TokenStore
    from twitchvault.vault.vault import Vault

__all__ = ["Core"]

_logger = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that closing takes at most, with no request of a refresh on its way."""
LEAST_TO_CLOSE: Final = 1.0
"""Seconds of them that the store and the HTTP session get, even if the vault took them all."""


class Core:
    """One vault with all that it needs; `own_store` is closed with it, any other store is not."""

    def __init__(
        self,
        http: HTTPClient,
        identity: Identity,
        vault: Vault,
        api_url: str,
        own_store: TokenStore | None,
    ) -> None:
        self.http = http
        self.identity = identity
        self.vault = vault
        self.binding = LoopBinding()
        self.helix = HelixClient(http, vault, self.binding, api_url)
        self.application: AppAPI | None = None
        self.own_store = own_store
        self._turn = asyncio.Lock()
        self._resets = 0
        self._closing: asyncio.Task[None] | None = None

    def enter_loop(self) -> None:
        """Make sure that the flow may be bound to the running loop."""
        self.binding.check_process()
        if self.binding.closed:
            self._abandon()
        self.binding.check()

    async def authorize(self, token: str | None) -> None:
        """Open the store and have an app token: `token`, the vault's own or a new one."""
        self.enter_loop()
        if self._closing is not None:
            await asyncio.wait((self._closing,))
        if self.binding.bind():
            self._turn = asyncio.Lock()  # the former one may belong to another loop
            self.vault.enter_loop()
        self.http.closed = False
        resets = self._resets
        async with self._turn:
            self._check_resets(resets)  # the call before this one may have failed, and closed all
            try:
                application = await self._open(token)
            except BaseException:
                if not self.helix.authorized and resets == self._resets:
                    # What went wrong matters more than what then cannot be closed.
                    with suppress(StoreError):
                        await self.close()
                raise
            self._check_resets(resets)
            self.application, self.helix.authorized = application, True

    def _check_resets(self, before: int) -> None:
        if before != self._resets:
            msg = "the flow was cleared or closed while it authorized: call authorize() again"
            raise StoreError(msg)

    async def _open(self, token: str | None) -> AppAPI | None:
        await self.vault.open()
        if token is not None:
            await self.vault.take_app_token(token)
        elif not await self.vault.ensure_app_token():
            return None
        return AppAPI(self.http.client_id, self.helix)

    def clear(self) -> None:
        """Forget local state; what is on its way is still written."""
        self.binding.check_change()
        if self.binding.closed:
            self._abandon()
        self.vault.clear()
        self.helix.clear()
        self._reset()

    async def close(self) -> None:
        """End everything; a second call joins the first."""
        if self.binding.closed:
            error = self._abandon()
            await self._close_outside(running_loop().time() + CLOSE_TIMEOUT)
            if error is not None:
                raise error
            return
        self.binding.check()
        if self._closing is None:
            self._reset()
            self._closing = asyncio.create_task(self._close(), name="twitchvault close")
            self._closing.add_done_callback(self._closed)
        # A caller who does not want to wait may go; what is on its way is still written.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        deadline = running_loop().time() + CLOSE_TIMEOUT
        try:
            await self.vault.close()
        finally:
            await self._close_outside(deadline)

    async def _close_outside(self, deadline: float) -> None:
        await self.http.close()
        if self.own_store is None:
            return
        try:
            async with asyncio.timeout_at(max(deadline, running_loop().time() + LEAST_TO_CLOSE)):
                await self.own_store.close()
        except TimeoutError:
            _logger.warning("the store did not close in time; close() went on without it")

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing = None
        if not task.cancelled():  # else the loop ended first, which `_abandon` takes care of
            self.binding.release()
            task.exception()  # it has been logged, should nobody wait for it any more

    def _reset(self) -> None:
        self.application, self.helix.authorized = None, False
        self._resets += 1

    def _abandon(self) -> StoreError | None:
        """The loop was closed first: drop what belongs to it; what was not written is returned."""
        self._reset()
        self._closing = None
        self.binding.release()
        error = self.vault.abandon()
        if error is not None:
            _logger.error("the event loop was closed before the flow: %s", error)
        return error
