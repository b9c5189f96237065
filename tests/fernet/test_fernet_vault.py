"""A flow over an encrypted store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from twitchvault import DeviceCodeFlow
from twitchvault.errors import DecryptionError
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore
from twitchvault.testing import FakeTwitch

from .makers import KEY, NEW, WRONG, all_bytes, over_custom, swap, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twitchvault.stores import TokenStore
    from twitchvault.testing.fake import Client

SCOPES = ["chat:read"]


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
    pair = twitch.issue(client, twitch.add_user(login), SCOPES)
    return (await flow.add_user(pair.access_token, pair.refresh_token)).user_id


def stores(folder: Path) -> dict[str, TokenStore]:
    """The stores under a FernetStore."""
    return {"memory": MemoryStore(), "sqlite": SQLiteStore(folder / "tokens.db")}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_damaged_user(tmp_path: Path, twitch: FakeTwitch, client: Client, kind: str) -> None:
    """Users load; a damaged one is listed, the others work, and a new login replaces it."""
    inner = stores(tmp_path)[kind]
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        bob = await sign_in(flow, twitch, client, "bob")
    key = f"{client.client_id}:{alice}"
    await inner.open()
    await swap(inner, key, (await token(inner, key))[:-20])
    damaged = await inner.get(key)
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        assert set(flow.damaged) == {alice}
        assert isinstance(flow.damaged[alice], DecryptionError)
        assert set(flow.tokens) == {bob}
        assert (await flow.get_user_by_id(bob).get_user()).login == "bob"
        with pytest.raises(DecryptionError, match="is not opened by any of the keys"):
            flow.get_token(alice)
        assert await inner.get(key) == damaged
        pair = twitch.issue(client, alice, SCOPES)
        await flow.add_user(pair.access_token, pair.refresh_token)
        assert not flow.damaged
        assert set(flow.tokens) == {alice, bob}
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        assert flow.get_token(alice) == (pair.access_token, pair.refresh_token)


async def test_moved_user(twitch: FakeTwitch, client: Client, inner: MemoryStore) -> None:
    """Alice's row in bob's place does not give bob alice's tokens, also while the flow runs."""
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        bob = await sign_in(flow, twitch, client, "bob")
        moved = await token(inner, f"{client.client_id}:{alice}")
        await swap(inner, f"{client.client_id}:{bob}", moved)
        await flow.sync()
        assert set(flow.damaged) == {bob}
        with pytest.raises(DecryptionError, match="and moved here"):
            flow.get_token(bob)


async def test_wrong_key(twitch: FakeTwitch, client: Client, tmp_path: Path) -> None:
    """A flow with a wrong key does not start, and the store keeps every byte."""
    path = tmp_path / "tokens.db"
    async with flow_on(twitch, client, FernetStore(SQLiteStore(path), KEY)) as flow:
        await sign_in(flow, twitch, client, "alice")
    before = all_bytes(tmp_path)
    with pytest.raises(DecryptionError, match="none of the keys opens this store"):
        async with flow_on(twitch, client, FernetStore(SQLiteStore(path), WRONG)):
            pass
    assert all_bytes(tmp_path) == before


async def test_rotation_under_flows(twitch: FakeTwitch, client: Client, tmp_path: Path) -> None:
    """Two flows refresh while the store is rotated: one exchange each, no user lost."""
    path = tmp_path / "tokens.db"
    async with flow_on(twitch, client, FernetStore(SQLiteStore(path), KEY)) as flow:
        users = [await sign_in(flow, twitch, client, f"user{n}") for n in range(12)]
    store = FernetStore(SQLiteStore(path), [NEW, KEY])
    other = FernetStore(SQLiteStore(path), [NEW, KEY])
    async with flow_on(twitch, client, store) as one, flow_on(twitch, client, other) as two:
        refreshes = [flow.get_user_by_id(user).refresh() for user in users for flow in (one, two)]
        refreshing = asyncio.gather(*refreshes)
        reports = await asyncio.gather(store.rotate(), *(other.rotate() for _ in range(3)))
        await refreshing
        assert all(report.old_keys_unused for report in reports)
        assert twitch.counts.exchanges == len(users)
        assert twitch.counts.replays == 0
        await one.sync()
        await two.sync()
        assert dict(one.tokens) == dict(two.tokens)
        assert set(one.tokens) == set(users)
    async with flow_on(twitch, client, FernetStore(SQLiteStore(path), NEW)) as flow:
        assert set(flow.tokens) == set(users)
        for user in users:
            assert twitch.is_live(flow.tokens[user][0])


async def test_store_that_cannot_be_watched(
    twitch: FakeTwitch, client: Client, tmp_path: Path
) -> None:
    """Over a store of one's own the flow scans, as it does without encryption."""
    async with flow_on(twitch, client, over_custom(tmp_path / "tokens.db")) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        async with flow_on(twitch, client, over_custom(tmp_path / "tokens.db")) as other:
            assert set(other.tokens) == {alice}
            bob = await sign_in(other, twitch, client, "bob")
            await flow.sync()
            assert set(flow.tokens) == {alice, bob}


async def test_from_plaintext(twitch: FakeTwitch, client: Client, tmp_path: Path) -> None:
    """A flow refuses a store in plaintext; after encrypt_existing it finds all users."""
    path = tmp_path / "tokens.db"
    async with flow_on(twitch, client, SQLiteStore(path)) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        pair = flow.get_token(alice)
    with pytest.raises(DecryptionError, match="encrypt_existing"):
        async with flow_on(twitch, client, FernetStore(SQLiteStore(path), KEY)):
            pass
    store = FernetStore(SQLiteStore(path), KEY)
    assert (await store.encrypt_existing()).rewritten == 1
    async with flow_on(twitch, client, store) as flow:
        assert flow.get_token(alice) == pair


async def test_without_encryption(twitch: FakeTwitch, client: Client, inner: MemoryStore) -> None:
    """A flow on the store inside reads nobody; a login that it stores is refused afterwards."""
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        alice = await sign_in(flow, twitch, client, "alice")
        await sign_in(flow, twitch, client, "bob")
    async with flow_on(twitch, client, inner) as flow:
        assert len(flow.damaged) == 2
        pair = twitch.issue(client, alice, SCOPES)
        await flow.add_user(pair.access_token, pair.refresh_token)
    async with flow_on(twitch, client, FernetStore(inner, KEY)) as flow:
        assert set(flow.damaged) == {alice}
        assert isinstance(flow.damaged[alice], DecryptionError)
        assert len(flow.tokens) == 1
