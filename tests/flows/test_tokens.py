"""`refresh_token`, `revoke_token`, `validate_token`, `get_token_quota`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.world import said, within
from twitchvault import (
    AuthFailure,
    BadRequest,
    HTTPException,
    NotFound,
    TokenError,
    Unauthorized,
)

if TYPE_CHECKING:
    from tests.world import World


async def test_refresh_token_of_a_vaulted_one(world: World) -> None:
    """It goes through the vault: one exchange, and the vault holds what is returned."""
    async with world.device(world.public) as flow:
        pair = world.pair(world.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        token = await flow.refresh_token(pair.refresh_token)
        assert (token.access_token, token.refresh_token) == flow.get_token(user.user_id)
        assert token.access_token != pair.access_token
        assert world.twitch.is_live(token.access_token)
        assert token.scopes == ("chat:read",)
        assert token.expires_in > 0
        assert token.raw["access_token"] == token.access_token
        assert not any(secret in repr(token) for secret in world.twitch.secrets)
        assert await world.place.read(world.key(world.alice, world.public)) is not None
    assert world.twitch.counts.exchanges == 1


async def test_refresh_token_of_a_spent_one(world: World) -> None:
    """One known to be spent yields the vaulted pair and is not sent to Twitch."""
    async with world.device(world.public) as flow:
        pair = world.pair(world.public)
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        first = await flow.refresh_token(pair.refresh_token)
        assert first.refresh_token is not None
        second = await flow.refresh_token(first.refresh_token)
        for spent in (pair.refresh_token, first.refresh_token):
            again = await flow.refresh_token(spent)
            assert (again.access_token, again.refresh_token) == flow.get_token(user.user_id)
            assert again.access_token == second.access_token
    async with world.device(world.public) as flow:
        assert (await flow.refresh_token(pair.refresh_token)).access_token == second.access_token
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (2, 0)


async def test_refresh_token_of_an_unknown_one(world: World) -> None:
    """It is exchanged once, and its successor is the vault's, also at the next start."""
    pair = world.pair(world.public, scopes=["chat:read"])
    async with world.device(world.public) as flow:
        token = await flow.refresh_token(pair.refresh_token)
        assert world.twitch.is_live(token.access_token)
        assert token.scopes == ("chat:read",)
        assert flow.get_token(world.alice.user_id) == (token.access_token, token.refresh_token)
        user = await flow.add_user(token.access_token, token.refresh_token)
        assert user.user_id == world.alice.user_id
    async with world.device(world.public) as flow:
        assert (await flow.refresh_token(pair.refresh_token)).access_token == token.access_token
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_refresh_token_by_many_at_once(world: World) -> None:
    """Whoever asks with the same vaulted token gets the same new pair: one exchange."""
    async with world.device(world.public) as flow, world.device(world.public) as other:
        pair = world.pair(world.public)
        await flow.add_user(pair.access_token, pair.refresh_token)
        await other.sync()
        tokens = await within(
            asyncio.gather(
                *(each.refresh_token(pair.refresh_token) for each in (flow, other) * 10)
            ),
            10,
        )
        assert len({token.access_token for token in tokens}) == 1
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (1, 0)


async def test_refresh_token_of_one_that_another_process_has_just_stored(world: World) -> None:
    """What another process has committed is vaulted: it is not sent as if nobody knew it."""
    async with world.device(world.public) as flow, world.device(world.public) as other:
        for number in range(8):
            owner = world.twitch.add_user(f"user{number}")
            pair = world.pair(world.public, owner)
            user = flow.add_token(owner.user_id, pair.access_token, pair.refresh_token)
            await flow.flush()
            token = await other.refresh_token(pair.refresh_token)
            assert other.get_token(user.user_id) == (token.access_token, token.refresh_token)
            assert (await user.get_user()).id == user.user_id
            await user.refresh()
    assert world.twitch.counts.replays == 0


async def test_refresh_token_of_a_refused_one(world: World) -> None:
    """Twitch's refusal of a vaulted token is an AuthFailure, and the user needs a login."""
    async with world.device(world.public) as flow:
        pair = world.pair(world.public)
        await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.disconnect(world.public, world.alice)
        with pytest.raises(AuthFailure, match="sign in again"):
            await flow.refresh_token(pair.refresh_token)
        asked = len(world.twitch.requests)
        with pytest.raises(AuthFailure):
            await flow.refresh_token(pair.refresh_token)
        assert len(world.twitch.requests) == asked


async def test_revoke_token_of_a_vaulted_one(world: World) -> None:
    """Revoked at Twitch, and gone from the vault when it returns."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        await flow.revoke_token(pair.access_token)
        assert not world.twitch.is_live(pair.access_token)
        assert user.user_id not in flow.tokens
        assert not await world.place.holds(pair.access_token)
        with pytest.raises(TokenError):
            await user.get("users")
        with pytest.raises(BadRequest, match="Invalid token") as caught:
            await flow.revoke_token(pair.access_token)
        assert pair.access_token not in said(caught.value)


async def test_revoke_token_of_one_that_another_process_has_just_stored(world: World) -> None:
    """A token that another process has committed is vaulted: it leaves the vault, too."""
    async with world.device() as flow, world.device() as other:
        for number in range(8):
            owner = world.twitch.add_user(f"user{number}")
            pair = world.pair(user=owner)
            flow.add_token(owner.user_id, pair.access_token, pair.refresh_token)
            await flow.flush()
            await other.revoke_token(pair.access_token)
            assert owner.user_id not in flow.tokens


async def test_revoke_token_of_a_foreign_one(world: World) -> None:
    """One that is not in the vault is revoked; the vault stays as it is."""
    async with world.device() as flow:
        mine, other = world.pair(), world.pair()
        await flow.add_user(mine.access_token, mine.refresh_token)
        await flow.revoke_token(other.access_token)
        assert not world.twitch.is_live(other.access_token)
        assert flow.get_token(world.alice.user_id) == (mine.access_token, mine.refresh_token)


async def test_revoke_token_and_a_new_login_meanwhile(world: World) -> None:
    """A login that comes while an older token is being revoked is not thrown away with it."""
    async with world.device() as flow:
        old, new = world.pair(), world.pair()
        await flow.add_user(old.access_token, old.refresh_token)
        with world.twitch.hold("revoke", when="after") as gate:
            task = asyncio.create_task(flow.revoke_token(old.access_token))
            await gate.reached()
            await flow.add_user(new.access_token, new.refresh_token)
        await task
        await flow.flush()
        assert flow.get_token(world.alice.user_id) == (new.access_token, new.refresh_token)


async def test_revoke_token_of_a_vaulted_one_that_is_dead_already(world: World) -> None:
    """The user has disconnected: the goal is reached, the token leaves the vault."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        world.twitch.disconnect(world.client, world.alice)
        await user.revoke()
        assert user.user_id not in flow.tokens


async def test_revoke_token_that_fails_for_another_reason(small: World) -> None:
    """Any other refusal raises, and what was not revoked stays in the vault."""
    async with small.device() as flow:
        pair = small.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        for status, message in ((400, "invalid client"), (404, "no"), (429, ""), (500, "")):
            body = {"status": status, "message": message}
            small.twitch.fail("revoke", status=status, body=body)
            with pytest.raises(HTTPException):
                await flow.revoke_token(pair.access_token)
            assert user.user_id in flow.tokens


async def test_the_wrong_one_of_a_pair(small: World) -> None:
    """A refresh token is not revoked, an access token not refreshed: both raise."""
    async with small.device() as flow:
        pair = small.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        with pytest.raises(BadRequest):
            await flow.revoke_token(pair.refresh_token)
        with pytest.raises(AuthFailure, match="does not work"):
            await flow.refresh_token(pair.access_token)
        assert flow.get_token(user.user_id) == (pair.access_token, pair.refresh_token)
    assert small.twitch.is_live(pair.access_token)


async def test_revoke_token_of_an_unknown_client(small: World) -> None:
    """Twitch's 404 is a NotFound."""
    flow = small.device(client_id="unknown", client_secret=None)
    await flow.authorize()
    with pytest.raises(NotFound, match="client does not exist"):
        await flow.revoke_token("token")


async def test_validate_token(world: World) -> None:
    """It returns what Twitch says and updates the vaulted token's validity and scopes."""
    async with world.device() as flow, world.device() as other:
        pair = world.pair(scopes=["chat:read"])
        flow.add_token(world.alice.user_id, pair.access_token, pair.refresh_token)
        answer = await flow.validate_token(pair.access_token)
        assert (answer.login, answer.user_id) == ("alice", world.alice.user_id)
        assert answer.client_id == world.client.client_id
        assert answer.scopes == ("chat:read",)
        assert answer.raw["expires_in"] == answer.expires_in
        for each in (flow, other):
            assert each.tokens_validity[world.alice.user_id][1] == answer.expires_in
            assert each.users_scopes[world.alice.user_id] == ("chat:read",)
        first = flow.tokens_validity[world.alice.user_id][0]
        await flow.validate_token(pair.access_token)
        assert flow.tokens_validity[world.alice.user_id][0] > first


async def test_validate_token_of_the_app(world: World) -> None:
    """An app token has neither login nor user; its validity is updated."""
    async with world.device() as flow:
        token = flow.tokens[world.client.client_id][0]
        before = flow.tokens_validity[world.client.client_id][0]
        answer = await flow.validate_token(token)
        assert (answer.login, answer.user_id, answer.scopes) == (None, None, ())
        assert flow.tokens_validity[world.client.client_id][0] > before
        assert world.client.client_id not in flow.users_scopes


async def test_validate_token_of_a_foreign_or_dead_one(world: World) -> None:
    """A foreign token changes nothing in the vault; a dead one is Unauthorized."""
    async with world.device() as flow:
        mine, other = world.pair(), world.pair()
        flow.add_token(world.alice.user_id, mine.access_token, mine.refresh_token)
        await flow.validate_token(other.access_token)
        assert world.alice.user_id not in flow.tokens_validity
        with pytest.raises(Unauthorized):
            await flow.validate_token("dead")


async def test_validate_token_of_one_stored_under_another_name(small: World) -> None:
    """The validation compares whose token it is: this user has to sign in, and is not shown."""
    async with small.device() as flow:
        pair = small.pair()
        user = flow.add_token("my bot", pair.access_token, pair.refresh_token)
        assert (await flow.validate_token(pair.access_token)).login == "alice"
        assert "my bot" not in flow.users_scopes
        assert user.needs_login
        with pytest.raises(AuthFailure):
            await user.get_user()


async def test_get_token_quota(world: World) -> None:
    """The points left as Twitch last said, per user; None while nothing was said."""
    async with world.device() as flow:
        pair = world.pair()
        user = await flow.add_user(pair.access_token, pair.refresh_token)
        assert flow.get_token_quota(user.user_id) is None
        assert flow.get_token_quota("nobody") is None
        world.twitch.helix_refill = 0.0
        await user.get_user()
        assert flow.get_token_quota(user.user_id) == 799
        await user.get_user()
        assert flow.get_token_quota(user.user_id) == 798
        assert flow.application is not None
        await flow.application.get_user(login="alice")
        assert flow.get_token_quota(world.client.client_id) == 799
        world.twitch.helix_headers = False
        await user.get_user()
        assert flow.get_token_quota(user.user_id) == 798


async def test_explicit_refreshes_at_once(world: World) -> None:
    """`refresh()` asked for by two processes, and by many tasks, at once is one exchange."""
    async with world.device(world.public) as one, world.device(world.public) as two:
        pair = world.pair(world.public)
        first = await one.add_user(pair.access_token, pair.refresh_token)
        await two.sync()
        second = two.get_user_by_id(first.user_id)
        tokens = await within(asyncio.gather(*(user.refresh() for user in (first, second) * 5)), 10)
        assert len({token.access_token for token in tokens}) == 1
        assert first.token == second.token == tokens[0].access_token
        later = await first.refresh()
        assert later.access_token != tokens[0].access_token
    assert (world.twitch.counts.exchanges, world.twitch.counts.replays) == (2, 0)
