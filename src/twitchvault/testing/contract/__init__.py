"""`StoreContract`: what a token store must keep, as tests that its author inherits.

Needs pytest and pytest-asyncio (`pip install 'twitchvault[testing]'`); auto and strict mode
are the same to it.
"""

from __future__ import annotations

from twitchvault.testing.contract.suite import StoreContract

__all__ = ["StoreContract"]
