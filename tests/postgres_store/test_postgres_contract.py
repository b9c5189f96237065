"""PostgresStore, the example, on a real PostgreSQL: contract, page, and a storm of processes."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from twitchvault_postgres import PostgresStore, store
from twitchvault_postgres.sql import CREATE

from tests.docs.pages import ROOT, Block, blocks
from tests.environment import REFRESH
from tests.processes.fleet import all_do
from twitchvault.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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


LOCK: Final = "SELECT version INTO written FROM twitchvault_version FOR UPDATE;"
COUNT: Final = "written := written + 1;"
SAVE: Final = "UPDATE twitchvault_version SET version = written;"
NEXT: Final = "nextval('numbers')"
RETURNING: Final = "value = excluded.value RETURNING version INTO written;"

VARIANTS: Final[dict[str, dict[str, str]]] = {
    "before the insert": {LOCK: "", COUNT: f"written := {NEXT};", SAVE: ""},
    "in the insert": {
        LOCK: "",
        COUNT: "",
        SAVE: "",
        "VALUES (this, written, new)": f"VALUES (this, {NEXT}, new)",
        "value = excluded.value;": RETURNING,
    },
}


class Contract(StoreContract, omits={"processes": "the variant exists in this process"}):
    """The contract, called by hand."""


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("variant", VARIANTS)
async def test_a_bare_sequence_is_found(
    url: str, variant: str, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure says where the version has to come from. A busy machine may take several runs."""
    statements = f"CREATE SEQUENCE IF NOT EXISTS numbers; {CREATE}"
    for old, new in VARIANTS[variant].items():
        assert old in statements, f"turn {turn}: the example has changed"
        statements = statements.replace(old, new)
    monkeypatch.setattr(store, "CREATE", statements)
    with pytest.raises(AssertionError) as caught:
        await check_order(url, times=20)
    assert "take the version from a row, or under a lock" in str(caught.value)


async def check_order(url: str, times: int = 1) -> None:
    """Run the contract's test of the order on three stores."""
    async with AsyncExitStack() as stack:
        stores = [PostgresStore(url) for _ in range(3)]
        for each in stores:
            await each.open()
            stack.push_async_callback(each.close)
        for _ in range(times):
            await Contract().test_versions_are_in_the_order_of_commits(stores=stores)  # type: ignore[arg-type]


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


async def test_the_server_crashes_in_mid_storm(fleet: Fleet, server: Server) -> None:
    """It goes and comes back around an exchange: nothing is lost, and every process goes on."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry in (1, 2):
        await fleet.twitch.expire_access(user_id)
        async with await fleet.twitch.hold(REFRESH, when="after") as gate:
            calls = asyncio.ensure_future(all_do(workers, "call", user_id=user_id, count=50))
            await gate.reached()
            server.kill()
            await gate.release()
            await server.start().ready()
            check_failures(await calls)
        assert await all_do(workers, "call", user_id=user_id) == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


async def test_connections_are_cut_every_200_ms(fleet: Fleet, server: Server) -> None:
    """Whatever statement a process is at, its connections are cut: one exchange for an expiry."""
    await fleet.register()
    workers = await fleet.start(PROCESSES)
    user_id = await fleet.own_pair(workers[0])
    for expiry in (1, 2, 3):
        async with connections_cut(server):
            await fleet.twitch.expire_access(user_id)
            check_failures(await all_do(workers, "call", user_id=user_id, count=50, seconds=0.6))
        assert await all_do(workers, "call", user_id=user_id) == [[]] * PROCESSES
        await fleet.expect(user_id, exchanges=1 + expiry)


def check_failures(failures: list[list[str]]) -> None:
    """A call may fail while the store does; its error says so."""
    wrong = [text for each in failures for text in each if "StoreUnavailable(" not in text]
    assert not wrong


@asynccontextmanager
async def connections_cut(server: Server) -> AsyncIterator[None]:
    """Cut all connections of others every 200 ms."""

    async def cut() -> None:
        while True:
            await server.cut_connections()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(cut())
    yield
    task.cancel()
    await asyncio.wait({task})
