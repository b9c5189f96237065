"""Flows over an encrypted store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from twitchvault import DeviceCodeFlow
from twitchvault.errors import DecryptionError
from twitchvault.stores import FernetStore, SQLiteStore
from twitchvault.testing import FakeTwitch

from .makers import KEY, NEW, WRONG, all_bytes, over_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twitchvault.stores import TokenStore
    from twitchvault.testing.fake import Client


@pytest.fixture
async def twitch() -> AsyncIterator[FakeTwitch]:
    """A double of Twitch."""
    async with FakeTwitch(seed=7) as twitch:
        yield twitch


@pytest.fixture
def client(twitch: FakeTwitch) -> Client:
    """A public client."""
    return twitch.register_client(public=True)


@asynccontextmanager
async def flow_on(
    twitch: FakeTwitch, client: Client, store: TokenStore
) -> AsyncIterator[DeviceCodeFlow]:
    """A flow for the length of the block; the store is closed after it."""
    flow = DeviceCodeFlow(
        client.client_id,
        store=store,
        maintain=False,
        id_url=twitch.id_url,
        api_url=twitch.api_url,
    )
    try:
        async with flow:
            yield flow
    finally:
        await store.close()


async def sign_in(flow: DeviceCodeFlow, twitch: FakeTwitch, client: Client, login: str) -> str:
    """A new user, added to the flow; the id."""
    pair = twitch.issue(client, twitch.add_user(login), ["chat:read"])
    return (await flow.add_user(pair.access_token, pair.refresh_token)).user_id


async def test_a_flow_is_refused_without_the_right_key(
    twitch: FakeTwitch, client: Client, tmp_path: Path
) -> None:
    """A flow does not start with a wrong key, or where the store and the flow disagree about
    encryption; no byte is changed.
    """
    path = tmp_path / "tokens.db"
    async with flow_on(twitch, client, SQLiteStore(path)) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        pair = flow.get_token(alice)
    before = all_bytes(tmp_path)
    with pytest.raises(DecryptionError, match="encrypt_existing"):
        async with flow_on(twitch, client, over_sqlite(path)):
            pass
    assert all_bytes(tmp_path) == before
    store = over_sqlite(path)
    assert (await store.encrypt_existing()).rewritten == 1
    async with flow_on(twitch, client, store) as flow:
        assert flow.get_token(alice) == pair
    before = all_bytes(tmp_path)
    wrong = FernetStore(SQLiteStore(path), WRONG)
    for refused, message in (
        (wrong, "none of the keys decrypts this store"),
        (SQLiteStore(path), r"this store is encrypted: open it through FernetStore\(store, keys\)"),
    ):
        with pytest.raises(DecryptionError, match=message):
            async with flow_on(twitch, client, refused):
                pass
        assert all_bytes(tmp_path) == before


async def test_rotation_under_flows(twitch: FakeTwitch, client: Client, tmp_path: Path) -> None:
    """Two flows refresh while the store is rotated: one exchange each, no user lost."""
    path = tmp_path / "tokens.db"
    async with flow_on(twitch, client, over_sqlite(path)) as flow:
        users = [await sign_in(flow, twitch, client, f"user{n}") for n in range(12)]
    stores = [FernetStore(SQLiteStore(path), [NEW, KEY]) for _ in range(2)]
    async with flow_on(twitch, client, stores[0]) as one, flow_on(twitch, client, stores[1]) as two:
        refreshes = [flow.get_user_by_id(user).refresh() for user in users for flow in (one, two)]
        refreshing = asyncio.gather(*refreshes)
        reports = await asyncio.gather(*(store.rotate() for store in stores))
        await refreshing
        assert all(report.old_keys_unused for report in reports)
        assert (twitch.counts.exchanges, twitch.counts.replays) == (len(users), 0)
        await asyncio.gather(one.sync(), two.sync())
        assert dict(one.tokens) == dict(two.tokens)
    async with flow_on(twitch, client, FernetStore(SQLiteStore(path), NEW)) as flow:
        assert set(flow.tokens) == set(users)
        assert all(twitch.is_live(flow.tokens[user][0]) for user in users)
