"""PostgresStore, the example, on a real PostgreSQL: contract, page, and a storm of processes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import pytest
from twitchvault_postgres import PostgresStore

from tests.docs.pages import ROOT, Block, blocks
from tests.processes.fleet import all_do
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_store.servers import Server
    from tests.processes.fleet import Fleet
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


PAGE: Final = ROOT / "docs" / "stores" / "postgres.md"
EXAMPLE: Final = ROOT / "docs" / "examples" / "postgres" / "twitchvault_postgres"
EXCERPTS: Final = [*blocks(PAGE, "sql"), blocks(PAGE, "python")[0]]


def lines(text: str) -> str:
    """The text without its indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("block", EXCERPTS, ids=lambda block: f"line-{block.line}")
def test_excerpts_stand_in_the_example(block: Block) -> None:
    """What the page quotes is in a module of the package."""
    modules = [lines(path.read_text(encoding="utf-8")) for path in EXAMPLE.glob("*.py")]
    assert any(lines(block.text) in module for module in modules)


PROCESSES = 4


async def test_the_storm(fleet: Fleet) -> None:
    """4 processes x 50 calls on one expired token, at once and spread out: one exchange each."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry, seconds in enumerate((0.0, 0.6), 1):
        await fleet.twitch.expire_access(user_id)
        failures = await all_do(workers, "call", user_id=user_id, count=50, seconds=seconds)
        assert failures == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)
