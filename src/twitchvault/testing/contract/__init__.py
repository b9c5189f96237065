"""`StoreContract`: what a token store must do, as tests. Needs pytest and pytest-asyncio."""

from __future__ import annotations

from twitchvault.testing.contract.suite import StoreContract

__all__ = ["StoreContract"]
