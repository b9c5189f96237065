"""`tokens`, `tokens_validity`, `users_scopes`: their types, and every way to read them."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from tests.environment import on_each_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.environment import Environment

pytestmark = pytest.mark.usefixtures("confidential")


async def test_their_types(env: Environment) -> None:
    """Read-only proxies of plain types; who was only added is in `tokens` and in no other view."""
    async with env.device() as flow:
        pair = env.pair(scopes=["chat:read", "bits:read"])
        await flow.add_user(pair.access_token, pair.refresh_token)
        user_id = env.alice.user_id
        for view in (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.damaged):
            assert type(view) is MappingProxyType
        assert flow.tokens[user_id] == (pair.access_token, pair.refresh_token)
        assert [type(each) for each in flow.tokens[user_id]] == [str, str]
        validated_at, expires_in = flow.tokens_validity[user_id]
        assert (type(validated_at), type(expires_in)) == (float, float)
        assert abs(validated_at - time.time()) < 60
        assert 0 < expires_in < 20_000
        assert flow.users_scopes[user_id] == ("chat:read", "bits:read")
        assert set(flow.users_scopes) == {user_id}
        assert set(flow.tokens_validity) == {user_id, env.client.client_id}
        with pytest.raises(TypeError):
            flow.tokens["1"] = ("a", "b")  # type: ignore[index]
        added = env.pair(user=env.bob, scopes=())
        user = flow.add_token(env.bob.user_id, added.access_token, added.refresh_token)
        await flow.flush()
        assert user.user_id in flow.tokens
        assert user.user_id not in {*flow.tokens_validity, *flow.users_scopes}
        await flow.validate_token(added.access_token)
        assert flow.tokens_validity[user.user_id][1] > 0
        assert flow.users_scopes[user.user_id] == user.scopes == ()


@on_each_store
async def test_they_are_live(env: Environment) -> None:
    """One object each, from before `authorize` to after `close` and a new `authorize`."""
    flow = env.device()
    tokens, validity = flow.tokens, flow.tokens_validity
    assert dict(tokens) == {}
    flow.add_token("1", "a", None)
    assert dict(tokens) == {"1": ("a", None)}
    await flow.authorize()
    assert set(tokens) == {"1", env.client.client_id}
    assert set(validity) == {env.client.client_id}
    flow.remove_token("1")
    assert "1" not in tokens
    await flow.close()
    flow.clear()
    assert dict(tokens) == {}
    await flow.authorize()
    assert set(tokens) == {env.client.client_id}
    assert flow.tokens is tokens


@on_each_store
async def test_what_others_wrote_however_it_is_read(env: Environment) -> None:
    """A flow sees at once what another one has committed, whichever way it reads."""
    async with env.device() as one, env.device() as two:
        tokens = two.tokens
        reads: list[Callable[[str], object]] = [
            tokens.get,
            two.get_token,
            tokens.__getitem__,
            tokens.__contains__,
            lambda user_id: user_id in list(tokens),
            lambda user_id: user_id == next(reversed(tokens)),
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
            one.add_token(str(number), "a", "r")
            await one.flush()
            assert read(str(number)), f"read number {number}"


@on_each_store
async def test_reading_while_the_store_is_down(env: Environment) -> None:
    """A view read neither fails nor waits because the store is gone."""
    store = env.storage.store()
    async with env.device(store=store) as flow:
        user = await env.login(flow)
        await store.close()
        assert flow.tokens[user.user_id] == env.live()
        assert user.user_id in flow.users_scopes
        assert len(flow.tokens) == 2
        assert dict(flow.damaged) == {}
        assert flow.get_token(user.user_id) is not None
        assert (await user.get_user()).login == "alice"
        await store.open()
