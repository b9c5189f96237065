"""Records that cannot be read: the others go on, and a new login puts it right."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.own_stores import WatchedStore
from tests.world import GARBAGE, NEWER_SCHEMA, said, until, within
from twitchvault import CorruptRecord, DecryptionError, FernetStore, MemoryStore, StoreError

if TYPE_CHECKING:
    from tests.world import World
    from twitchvault import Entry
    from twitchvault.oauth import DeviceCodeFlow

SECRET = "from-the-future"
DAMAGE = [
    pytest.param(GARBAGE, "damaged", id="garbage"),
    pytest.param(NEWER_SCHEMA, "newer twitchvault", id="newer schema"),
    pytest.param(b"", "damaged", id="empty"),
    pytest.param(b'{"schema":1,"access_token":7}', "damaged", id="wrong type"),
    pytest.param(b'{"schema":1}', "damaged", id="field missing"),
    pytest.param(b'{"schema":1,"access_token":"' + SECRET.encode(), "damaged", id="cut off"),
    pytest.param(b"[" * 5000, "damaged", id="deep"),
]


def _unreadable(flow: DeviceCodeFlow, user_id: str, says: str) -> None:
    error = flow.damaged[user_id]
    assert isinstance(error, CorruptRecord)
    assert repr(user_id) in str(error)
    assert says in str(error)
    assert SECRET not in said(error)
    for view in (flow.tokens, flow.tokens_validity, flow.users_scopes):
        assert user_id not in view
    for call in (flow.get_token, flow.get_user_by_id):
        with pytest.raises(CorruptRecord, match=says):
            call(user_id)


@pytest.mark.parametrize(("value", "says"), DAMAGE)
async def test_damage_from_before(world: World, value: bytes, says: str) -> None:
    """Found at opening: the flow opens, the others load, and that user's calls raise."""
    pair = world.pair()
    async with world.device() as flow:
        await flow.add_user(pair.access_token, pair.refresh_token)
    await world.place.write(world.key(world.bob), value)
    async with world.device() as flow:
        _unreadable(flow, world.bob.user_id, says)
        assert flow.get_token(world.alice.user_id) == (pair.access_token, pair.refresh_token)
        assert list(flow.damaged) == [world.bob.user_id]
        assert (await flow.get_user_by_id(world.alice.user_id).get_user()).login == "alice"
    assert await world.place.read(world.key(world.bob)) == value, "nobody overwrote it"


@pytest.mark.parametrize(("value", "says"), DAMAGE[:2])
async def test_damage_that_comes_later(world: World, value: bytes, says: str) -> None:
    """Written while the flow is open: event, view, and every call of a UserAPI from before."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        stream = flow.events()
        await world.place.write(world.key(world.alice), value)
        event = await within(anext(stream))
        assert (event.kind, event.user_id) == ("damaged", world.alice.user_id)
        assert (event.origin, event.reason) == ("remote", str(flow.damaged[user.user_id]))
        _unreadable(flow, user.user_id, says)
        calls: list[Any] = [user.get_user, user.refresh, user.validate, user.revoke]
        for call in calls:
            with pytest.raises(CorruptRecord, match=says):
                await call()
        for name in ("token", "login", "scopes"):
            with pytest.raises(CorruptRecord, match=says):
                getattr(user, name)
        assert world.twitch.counts.helix_calls == 0
        assert flow.get_token_quota(user.user_id) is None


@pytest.mark.parametrize("how", ["add_user", "add_token", "expired"])
async def test_a_new_login_replaces_it(world: World, how: str) -> None:
    """Signing in again is all it takes, by whichever way, and shows at once."""
    await world.place.write(world.key(world.alice), GARBAGE)
    async with world.device() as flow, world.device() as other:
        assert world.alice.user_id in flow.damaged
        assert world.alice.user_id in other.damaged
        pair = world.pair(expired=how == "expired")
        if how == "add_token":
            user = flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
            assert user.token == pair.access_token
            await flow.flush()
        else:
            user = await flow.add_user(pair.access_token, pair.refresh_token)
        for each in (flow, other):
            assert world.alice.user_id not in each.damaged
            assert world.alice.user_id in each.tokens
        assert (await user.get_user()).login == "alice"
        assert await world.place.read(world.key(world.alice)) != GARBAGE


async def test_a_new_login_shows_at_once(world: World) -> None:
    """What this process wrote shows at once: in `tokens`, and no more in `damaged`."""
    await world.place.write(world.key(world.alice), GARBAGE)
    async with world.device() as flow:
        flow.add_token(world.alice.user_id, "a", "r")
        assert flow.tokens[world.alice.user_id] == ("a", "r")
        assert world.alice.user_id not in flow.damaged
        flow.remove_token(world.alice.user_id)
        assert world.alice.user_id not in flow.damaged
        await flow.flush()
        assert world.alice.user_id not in flow.damaged


async def test_the_error_in_the_view_stays_as_it_is(small: World) -> None:
    """Raising it does not tie the caller's own trouble, nor its frames, to the one in the view."""
    await small.place.write(small.key(small.alice), GARBAGE)
    async with small.device() as flow:
        try:
            raise RuntimeError(SECRET)
        except RuntimeError:
            with pytest.raises(CorruptRecord):
                flow.get_token(small.alice.user_id)
        kept = flow.damaged[small.alice.user_id]
        assert SECRET not in said(kept)
        assert kept.__traceback__ is None


async def test_a_row_that_was_moved(small: World) -> None:
    """Encrypted rows, one copied over another user's: DecryptionError for that one alone."""
    inner, key = MemoryStore(), "k" * 43 + "="
    store = FernetStore(inner, [key])
    async with small.device(store=store) as flow:
        flow.add_token(small.alice.user_id, "access-canary", "refresh-canary")
        flow.add_token(small.bob.user_id, "b", None)
        await flow.flush()
        entry = await inner.get(small.key(small.alice))
        assert entry is not None
        assert b"canary" not in entry.value
        await inner.put(small.key(small.bob), entry.value)
        await flow.sync()
        assert isinstance(flow.damaged[small.bob.user_id], DecryptionError)
        with pytest.raises(DecryptionError):
            flow.get_token(small.bob.user_id)
    async with small.device(store=store) as flow:
        assert list(flow.damaged) == [small.bob.user_id]
        assert "canary" not in said(flow.damaged[small.bob.user_id])
        assert flow.get_token(small.alice.user_id) == ("access-canary", "refresh-canary")
        pair = small.pair(user=small.bob)
        await flow.add_user(pair.access_token, pair.refresh_token)
        assert dict(flow.damaged) == {}
        assert flow.get_token(small.bob.user_id) == (pair.access_token, pair.refresh_token)


async def test_it_can_be_removed(world: World) -> None:
    """`remove_token` takes an unreadable record out of the store as well."""
    await world.place.write(world.key(world.alice), NEWER_SCHEMA)
    async with world.device() as flow:
        flow.remove_token(world.alice.user_id)
        await flow.flush()
        assert dict(flow.damaged) == {}
        assert flow.get_token(world.alice.user_id) is None
        assert await world.place.read(world.key(world.alice)) is None


async def test_another_process_puts_it_right(world: World) -> None:
    """A newer record of another process, or its removal, ends the damage here."""
    await world.place.write(world.key(world.alice), GARBAGE)
    await world.place.write(world.key(world.bob), GARBAGE)
    async with world.device() as flow, world.device() as other:
        assert len(flow.damaged) == 2
        pair = world.pair()
        await other.add_user(pair.access_token, pair.refresh_token)
        other.remove_token(world.bob.user_id)
        await other.flush()
        assert dict(flow.damaged) == {}
        assert flow.get_token(world.alice.user_id) == (pair.access_token, pair.refresh_token)


async def test_upkeep_leaves_it_alone(world: World) -> None:
    """Background validation goes on for the others and does not touch what it cannot read."""
    await world.place.write(world.key(world.bob), GARBAGE)
    async with world.device(maintain=True) as flow:
        pair = world.pair()
        flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        await until(lambda: world.alice.user_id in flow.users_scopes)
        await asyncio.sleep(0)
        assert world.bob.user_id in flow.damaged
    assert await world.place.read(world.key(world.bob)) == GARBAGE


async def test_damage_during_a_validation(world: World) -> None:
    """The answer comes too late for a record that can be read: it is still damage, not absence."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        with world.twitch.hold("validate", when="after") as gate:
            task = asyncio.create_task(flow.validate_token(pair.access_token))
            await gate.reached()
            await world.place.write(world.key(world.alice), GARBAGE)
            await flow.sync()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(CorruptRecord):
            flow.get_token(user.user_id)
        await within(flow.flush())
    assert await world.place.read(world.key(world.alice)) == GARBAGE


async def test_damage_during_a_refresh(world: World) -> None:
    """A new pair whose record was damaged meanwhile is kept and reported; it is not absent."""
    flow = world.device(world.public)
    await flow.authorize()
    pair = world.pair(world.public)
    user = await flow.add_user(pair.access_token, pair.refresh_token)
    await user.refresh()
    with world.twitch.hold("token:refresh_token", when="after") as gate:
        task = asyncio.create_task(user.refresh())
        await gate.reached()
        await world.place.write(world.key(world.alice, world.public), GARBAGE)
        await flow.sync()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(CorruptRecord):
        await within(flow.flush())
    try:
        shown = flow.get_token(user.user_id)
    except CorruptRecord:
        assert user.user_id in flow.damaged
    else:
        assert shown is not None
        assert world.twitch.is_live(shown[0])
    new = world.pair(world.public)
    await within(flow.add_user(new.access_token, new.refresh_token))
    assert flow.get_token(user.user_id) == (new.access_token, new.refresh_token)
    await within(flow.close())


async def test_a_validation_does_not_overwrite_it(world: World) -> None:
    """Only a new login replaces damage: validating the old token or refreshing does not."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await world.place.write(world.key(world.alice), NEWER_SCHEMA)
        try:
            await flow.validate_token(pair.access_token)
        except StoreError as error:
            assert isinstance(error, CorruptRecord)  # noqa: PT017
        with pytest.raises(CorruptRecord):
            await user.refresh()
        assert await world.place.read(world.key(world.alice)) == NEWER_SCHEMA
        await within(flow.flush())
    assert world.twitch.counts.exchanges == 0


async def test_a_damaged_app_token(world: World) -> None:
    """It does not keep the flow from opening: a new one is fetched."""
    for client in (world.client, world.public):
        await world.place.write(world.key(client.client_id, client), GARBAGE)
        async with world.device(client) as flow:
            pair = world.pair(client)
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            assert (await user.get_user()).login == "alice"
            assert (flow.application is None) == client.public
            if flow.application is not None:
                assert (await flow.application.get_user(login="bob")).login == "bob"


class Flawed(WatchedStore):
    """A store that cannot read one key for a while, as on a bad sector."""

    bad: str | None = None

    async def get(self, key: str) -> Entry | None:
        """As the inner store, or an error."""
        if key == self.bad:
            raise CorruptRecord(f"{key!r} cannot be read just now")
        return await super().get(key)


async def test_damage_that_passes(small: World) -> None:
    """What can be read again is in the views again."""
    store = Flawed(small.place.store())
    async with small.device(store=store) as flow:
        pair = small.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        store.bad = small.key(small.alice)
        with pytest.raises(CorruptRecord):
            await user.refresh()
        assert set(flow.damaged) == {user.user_id}
        store.bad = None
        await flow.sync()
        assert dict(flow.damaged) == {}
        await user.refresh()
    assert await small.stored() == small.live()


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-5", '"inf"', "[1]", "true"])
@pytest.mark.parametrize("name", ["expires_in", "last_validated"])
async def test_numbers_that_are_none(small: World, name: str, number: str) -> None:
    """A stored number that is none is damage or does no harm, never an error of another kind."""
    pair = small.pair()
    async with small.device() as flow:
        flow.add_token(pair.user_id, pair.access_token, pair.refresh_token)
    stored = await small.place.read(small.key(small.alice))
    assert stored is not None
    await small.place.write(small.key(small.alice), stored[:-1] + f',"{name}":{number}}}'.encode())
    async with small.device(maintain=True) as flow:
        try:
            user = flow.get_user_by_id(pair.user_id)
        except CorruptRecord:
            return
        assert (await user.get_user()).login == "alice"
        await flow.refresh_token(pair.refresh_token)
        assert json.dumps(dict(flow.tokens_validity), allow_nan=False)
