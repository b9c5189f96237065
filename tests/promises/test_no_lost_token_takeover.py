"""Who takes over the lease of somebody who is gone uses what it has seen of the access token."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.environment import REFRESH, until
from tests.processes.fleet import WorkerError, all_do

if TYPE_CHECKING:
    from tests.processes.fleet import Fleet

TTL = 2.0


@pytest.mark.parametrize(
    ("killed", "store_url"), [(False, "sqlite"), (True, "redis")], indirect=["store_url"]
)
async def test_an_access_token_that_died_under_a_lease(fleet: Fleet, killed: bool) -> None:
    """Twitch took it just before, and now refuses it: the exchange has killed it.

    So the refresh token is spent, and it is not sent once more. A public client's replay would cut
    the user off; as it is, the owner brings its pair home if it only stood still.
    """
    await fleet.register()
    owner, other = await fleet.start(2, lease_ttl=TTL)
    pair = await fleet.pair()
    tokens = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
    await all_do([owner, other], "add_user", **tokens)
    assert await other.do("call", user_id=pair.user_id) == []
    gate = await fleet.twitch.hold(REFRESH, when="after")
    call = owner.begin("refresh", user_id=pair.user_id)
    await gate.reached()
    owner.signal(signal.SIGKILL if killed else signal.SIGSTOP)
    await gate.release()
    outcomes: list[str] = await other.do("call", user_id=pair.user_id)
    assert all(outcome.startswith("AuthFailure") for outcome in outcomes)
    counts = await fleet.twitch.counts()
    assert (counts.exchanges, counts.replays) == (1, 0)
    if killed:
        with pytest.raises((WorkerError, ConnectionError, EOFError, asyncio.CancelledError)):
            await call
        assert await other.do("needs_login", user_id=pair.user_id)
        return
    owner.signal(signal.SIGCONT)
    with suppress(WorkerError):
        await call
    await until(lambda: fleet.is_stored(pair.user_id))
    await other.do("sync")
    assert await other.do("needs_login", user_id=pair.user_id) is None
    assert await other.do("call", user_id=pair.user_id) == []
