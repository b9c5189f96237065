"""`tokens`, `tokens_validity`, `users_scopes`: their types, and that they are live and safe."""

from __future__ import annotations

import sqlite3
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from twitchvault import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import World


async def test_their_types(world: World) -> None:
    """MappingProxyTypes of plain strings, floats and tuples."""
    async with world.device() as flow:
        pair = world.pair(scopes=["chat:read", "bits:read"])
        await flow.add_user(pair.access_token, pair.refresh_token)
        user_id = world.alice.user_id
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged):
            assert type(view) is MappingProxyType
        assert flow.tokens[user_id] == (pair.access_token, pair.refresh_token)
        assert isinstance(flow.tokens[user_id], tuple)
        access, refresh = flow.tokens[user_id]
        assert (type(access), type(refresh)) == (str, str)
        validated_at, expires_in = flow.tokens_validity[user_id]
        assert (type(validated_at), type(expires_in)) == (float, float)
        assert abs(validated_at - time.time()) < 10
        assert 0 < expires_in < 20_000
        assert flow.users_scopes[user_id] == ("chat:read", "bits:read")
        assert set(flow.users_scopes) == {user_id}
        assert set(flow.tokens_validity) == {user_id, world.client.client_id}


async def test_only_validated_tokens_have_validity_and_scopes(world: World) -> None:
    """A token that was only added is in `tokens` and in no other view."""
    async with world.device() as flow:
        pair = world.pair()
        user_id = world.alice.user_id
        flow.add_token(user_id, pair.access_token, pair.refresh_token)
        assert user_id in flow.tokens
        assert user_id not in flow.tokens_validity
        assert user_id not in flow.users_scopes
        await flow.flush()
        assert user_id not in flow.tokens_validity
        await flow.validate_token(pair.access_token)
        assert flow.tokens_validity[user_id][1] > 0
        assert flow.users_scopes[user_id] == ("chat:read",)


async def test_no_scopes_is_an_empty_tuple(world: World) -> None:
    """Twitch's null for a token without scopes is an empty tuple."""
    async with world.device() as flow:
        pair = world.pair(scopes=())
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert flow.users_scopes[user.user_id] == ()
        assert user.scopes == ()


async def test_they_are_live(world: World) -> None:
    """One object each, from before `authorize` to after `close` and a new `authorize`."""
    flow = world.device()
    tokens, validity = flow.tokens, flow.tokens_validity
    assert dict(tokens) == {}
    flow.add_token("1", "a", None)
    assert dict(tokens) == {"1": ("a", None)}
    await flow.authorize()
    assert set(tokens) == {"1", world.client.client_id}
    assert set(validity) == {world.client.client_id}
    flow.remove_token("1")
    assert "1" not in tokens
    await flow.close()
    flow.clear()
    assert dict(tokens) == {}
    await flow.authorize()
    assert set(tokens) == {world.client.client_id}
    assert flow.tokens is tokens


async def test_they_are_read_only(small: World) -> None:
    """No assignment gets through."""
    async with small.device() as flow:
        with pytest.raises(TypeError):
            flow.tokens["1"] = ("a", "b")  # type: ignore[index]


async def test_iterating_while_the_vault_changes(world: World) -> None:
    """Users may come and go while somebody walks over a view, in whatever way."""
    async with world.device() as flow:
        for number in range(8):
            flow.add_token(str(number), f"a{number}", None)
        for walk in (
            lambda: iter(flow.tokens),
            lambda: iter(flow.tokens.keys()),
            lambda: iter(flow.tokens.items()),
            lambda: iter(flow.tokens.values()),
            lambda: iter(flow.tokens.copy()),
        ):
            for step, _ in enumerate(walk()):
                flow.add_token(f"new{step}{id(walk)}", "a", None)
                flow.remove_token(f"new{step}{id(walk)}")
                flow.add_token(f"more{step}{id(walk)}", "a", None)


async def test_walking_backwards_while_the_vault_changes(world: World) -> None:
    """`reversed(flow.tokens)` is as safe and as fresh as walking forwards."""
    async with world.device() as flow, world.device() as other:
        for user_id in ("1", "2"):
            flow.add_token(user_id, "a", None)
            await flow.flush()
            assert next(reversed(other.tokens)) == user_id
        for user_id in reversed(flow.tokens):
            flow.add_token(f"new{user_id}", "a", None)


async def test_the_reprs_of_views_hide_tokens(world: World) -> None:
    """Views, users, apps: none of them shows a token in its repr."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        shown: list[object] = [flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged]
        shown += [user, flow, flow.application, flow.http, flow.get_token(user.user_id)]
        text = "".join(f"{thing!r} {thing!s}" for thing in shown)
        for secret in world.twitch.secrets | {str(world.client.client_secret)}:
            assert secret not in text


async def test_what_others_wrote_shows_at_the_next_read(world: World) -> None:
    """Memory and SQLite: a flow sees at once what another one has committed, however it is read."""
    async with world.device() as one, world.device() as two:
        tokens = two.tokens
        reads: list[Callable[[str], object]] = [
            tokens.get,
            two.get_token,
            tokens.__getitem__,
            tokens.__contains__,
            lambda user_id: user_id in list(tokens),
            lambda user_id: user_id in dict(tokens),
            lambda user_id: user_id in {**tokens},
            lambda user_id: user_id in (tokens | {}),
            lambda user_id: user_id in ({"x": ("", "")} | tokens),
            lambda user_id: user_id in tokens.copy(),
            lambda user_id: (user_id, ("a", "r")) in tokens.items(),
            lambda _user_id: tokens == one.tokens,
            lambda _user_id: len(tokens) == len(one.tokens),
        ]
        for number, read in enumerate(reads):
            for repetition in range(3):
                user_id = f"user{number}-{repetition}"
                one.add_token(user_id, "a", "r")
                await one.flush()
                assert read(user_id), f"read number {number}"


async def test_who_was_removed_is_not_found(world: World) -> None:
    """After `remove_token` no kind of read finds the user, whatever was read just before."""
    async with world.device() as flow:
        for look in (dict, list, lambda view: view.keys(), lambda view: view.copy()):
            flow.add_token("1", "a", "r")
            look(flow.tokens)
            flow.remove_token("1")
            assert "1" not in flow.tokens
            assert flow.tokens.get("1") is None
            with pytest.raises(KeyError):
                _ = flow.tokens["1"]


async def test_a_copy_of_a_view_is_whole(tmp_path: object, small: World) -> None:
    """`dict(flow.tokens)` succeeds whatever another process does meanwhile."""
    path = f"{tmp_path}/busy.db"
    flow = small.device(store=SQLiteStore(path))
    for number in range(800):
        flow.add_token(f"{number:05}", "a", None)
    async with flow:
        await flow.flush()
        thread = threading.Thread(target=_remove_all, args=(path, 800))
        thread.start()
        try:
            while thread.is_alive():
                dict(flow.tokens)
        finally:
            thread.join()


def _remove_all(path: str, count: int) -> None:
    """Another process: it removes one user after the other, the last first."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.execute("PRAGMA synchronous=OFF")
    for number in range(count - 1, count - 150, -1):
        db.execute(
            "UPDATE entries SET value = NULL, version = (SELECT max(version) + 1 FROM entries) "
            "WHERE key >= ? AND CAST(key AS TEXT) LIKE ?",
            (b"", f"%:{number:05}"),
        )
    db.close()


async def test_reading_while_the_store_is_down(world: World) -> None:
    """A view read does not fail, nor wait, because the backend is gone."""
    store = world.place.store()
    async with world.device(store=store) as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await store.close()
        assert flow.tokens[user.user_id] == (pair.access_token, pair.refresh_token)
        assert user.user_id in flow.users_scopes
        assert len(flow.tokens) == 2
        assert dict(flow.damaged) == {}
        assert flow.get_token(user.user_id) is not None
        assert (await user.get_user()).login == "alice"
        await store.open()
