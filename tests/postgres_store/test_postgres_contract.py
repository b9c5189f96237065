"""`PostgresStore`, the example, keeps the contract on a real PostgreSQL."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from twitchvault_postgres import PostgresStore

from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_store.servers import Server
    from twitchvault import TokenStore


@pytest.mark.usefixtures("make_store")  # the contract asks for it too late for async fixtures
class TestPostgresStore(StoreContract):
    """`postgresql://`."""

    @pytest.fixture
    def make_store(self, server: Server, url: str) -> Callable[[], PostgresStore]:
        """Stores on one schema."""
        self.server = server
        return functools.partial(PostgresStore, url)

    async def break_connections(self, store: TokenStore) -> None:  # noqa: ARG002
        """Let the server end them."""
        await self.server.cut_connections()
