"""The example with a database sequence in place of the locked row: the contract finds it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import pytest
from twitchvault_postgres import PostgresStore, store
from twitchvault_postgres.sql import CREATE

from twitchvault.testing import StoreContract

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
    """Every time, and the failure says where the version has to come from."""
    statements = f"CREATE SEQUENCE IF NOT EXISTS numbers; {CREATE}"
    for old, new in VARIANTS[variant].items():
        assert old in statements, f"turn {turn}: the example has changed"
        statements = statements.replace(old, new)
    monkeypatch.setattr(store, "CREATE", statements)
    with pytest.raises(AssertionError) as caught:
        await check_order(url)
    assert "A database sequence numbers calls: take the version from a row" in str(caught.value)


async def check_order(url: str) -> None:
    """Run the contract's test of the order on three stores."""
    async with AsyncExitStack() as stack:
        stores = [PostgresStore(url) for _ in range(3)]
        for each in stores:
            await each.open()
            stack.push_async_callback(each.close)
        await Contract().test_versions_are_in_the_order_of_commits(stores=stores)  # type: ignore[arg-type]
