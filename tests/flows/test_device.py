"""The device code flow: one poll, and waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.environment import within
from twitchvault import BadRequest, NoAnswer, RateLimited, Scopes, Token, TwitchServerError
from twitchvault.oauth.device import poll

if TYPE_CHECKING:
    from tests.environment import Environment

TOKEN = Token.from_answer({"access_token": "a", "refresh_token": "r", "token_type": "bearer"})


def refusal(code: str) -> BadRequest:
    """What Twitch answers to a poll."""
    error = BadRequest(400, code)
    error.error_code = code
    return error


PENDING = refusal("authorization_pending")
SLOW_DOWN = refusal("slow_down")


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, *answers: Exception | Token) -> None:
        self.now = 1000.0
        self.asked_at: list[float] = []
        self._answers = list(answers)

    async def sleep(self, seconds: float) -> None:
        """Move on."""
        assert seconds >= 0
        self.now += seconds

    async def ask(self, _left: float) -> Token:
        """The next answer; the last one for ever."""
        self.asked_at.append(self.now - 1000.0)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def poll(self, *, interval: float = 5.0, timeout: float = 300.0) -> Token:
        """Poll on this clock."""
        return await poll(
            self.ask, interval=interval, timeout=timeout, clock=lambda: self.now, sleep=self.sleep
        )


async def test_the_intervals() -> None:
    """The first question comes after one interval; each `slow_down` adds 5 s to all later ones."""
    clock = Clock(PENDING, SLOW_DOWN, PENDING, SLOW_DOWN, PENDING, TOKEN)
    assert await clock.poll() is TOKEN
    assert clock.asked_at == [5, 10, 20, 30, 45, 60]


@pytest.mark.parametrize("limit", [3, 32])
@pytest.mark.parametrize(
    "lasting", [PENDING, SLOW_DOWN, RateLimited(429), TwitchServerError(500), NoAnswer("gone")]
)
async def test_the_time_limit(lasting: Exception, limit: float) -> None:
    """`TimeoutError` at the time limit, neither earlier nor later, also below the interval."""
    clock = Clock(lasting)
    with pytest.raises(TimeoutError, match=f"{limit} s"):
        await clock.poll(timeout=limit)
    assert clock.now == 1000 + limit
    assert all(asked < limit for asked in clock.asked_at)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "5", [5]])
@pytest.mark.parametrize("name", ["interval", "timeout"])
async def test_an_impossible_time(env: Environment, name: str, seconds: Any) -> None:  # noqa: ANN401
    """It is a ValueError that names the argument."""
    async with env.device() as flow:
        with pytest.raises(ValueError, match=f"'{name}' must be a number of seconds"):
            await flow.wait_for_device_token("device-code", **{name: seconds})
        with pytest.raises(ValueError, match="'interval'"):
            await flow.wait_for_device_token("device-code", interval=0)
    assert env.asked() == 0


@pytest.mark.parametrize("stated", [{}, {"expires_in": 0}])
async def test_an_answer_that_does_not_state_its_end(
    env: Environment, stated: dict[str, object]
) -> None:
    """Its `expires_in` of 0, handed on as `timeout`, does not end the wait."""
    started = {"device_code": "d" * 40, "user_code": "ABCDEFGH", "verification_uri": "https://x"}
    env.twitch.fail("device", status=200, body=started | {"interval": 0} | stated)
    token = {"access_token": "a", "refresh_token": "r", "token_type": "bearer"}
    env.twitch.fail("token:device", status=200, body=token)
    async with env.device() as flow:
        code = await flow.request_device_code()
        assert (code.expires_in, code.interval) == (0, 0)
        waiting = flow.wait_for_device_token(code.device_code, 0.05, code.expires_in)
        assert (await within(waiting)).access_token == "a"


async def test_get_device_token_is_one_poll(env: Environment) -> None:
    """Pending is a BadRequest that says so; after the token the code is no good any more."""
    async with env.device() as flow:
        code = await flow.request_device_code({Scopes.CHAT_READ, "bits:read"})
        assert code.user_code in code.verification_uri
        assert (code.expires_in, code.interval) == (1800, 5)
        assert code.raw["device_code"] == code.device_code
        with pytest.raises(BadRequest, match="authorization_pending") as caught:
            await flow.get_device_token(code.device_code)
        assert not env.shows_secret(caught.value)
        env.twitch.approve(code.user_code, env.alice)
        token = await flow.get_device_token(code.device_code)
        assert set(token.scopes) == {"chat:read", "bits:read"}
        assert token.refresh_token is not None
        assert dict(flow.tokens) == {}, "it is only returned"
        with pytest.raises(BadRequest, match="invalid device code") as caught:
            await flow.get_device_token(code.device_code)
        assert not env.shows_secret(caught.value)
    assert env.twitch.counts.polls == 3


@pytest.mark.parametrize(
    "switches",
    [
        {"scope_shape": "string"},
        {"scope_shape": "blank"},
        {"extra_keys": True},
        {"omit_expires_in": True, "omit_token_type": True},
        {"legacy": True},
    ],
)
async def test_answers_of_other_shapes(env: Environment, switches: dict[str, Any]) -> None:
    """What Twitch is known to send otherwise works from the device code to the refresh."""
    env.twitch.switch(env.public, **switches)
    for scopes in (set(), {"chat:read", "bits:read"}):
        async with env.device(maintain=True) as flow:
            env.twitch.auto_approve(env.alice)
            code = await flow.request_device_code(scopes)
            token = await flow.get_device_token(code.device_code)
            assert set(token.scopes) == scopes
            assert token.token_type == "bearer"
            user = await flow.add_user(token.access_token, token.refresh_token)
            assert set((await user.refresh()).scopes) == scopes
            assert set(user.scopes) == scopes
            assert (await user.get_user()).login == "alice"
    assert (env.twitch.counts.exchanges, env.twitch.counts.replays) == (2, 0)


async def test_the_servers_interval_counts(env: Environment) -> None:
    """Twitch said 1.5 s to this flow: a smaller argument does not make it ask oftener."""
    env.twitch.device_interval = 1.5
    async with env.device() as flow:
        code = await flow.request_device_code()
        assert code.interval >= 1.5
        with pytest.raises(TimeoutError):
            await flow.wait_for_device_token(code.device_code, interval=0.01, timeout=0.3)
        assert env.twitch.counts.polls == 0


async def test_slow_down_is_remembered(env: Environment) -> None:
    """`slow_down` counts for a second wait for the same code, too."""
    env.twitch.device_interval = 0
    async with env.device() as flow:
        code = await flow.request_device_code()
        env.twitch.fail("token:device", status=400, body={"status": 400, "message": "slow_down"})
        with pytest.raises(TimeoutError):
            await flow.wait_for_device_token(code.device_code, interval=0.05, timeout=1)
        asked = env.asked()
        assert env.log("token:device") == [("token", 400)]
        with pytest.raises(TimeoutError):
            await flow.wait_for_device_token(code.device_code, interval=0.05, timeout=0.4)
        assert env.asked() == asked


async def test_an_expired_and_a_denied_code(env: Environment) -> None:
    """Both are a BadRequest with Twitch's text."""
    env.twitch.device_interval = 0
    env.twitch.switch(env.public, denied_device="access_denied")
    async with env.device() as flow:
        code = await flow.request_device_code()
        env.twitch.deny(code.user_code)
        with pytest.raises(BadRequest, match="access_denied"):
            await flow.wait_for_device_token(code.device_code, interval=0.01)
        code = await flow.request_device_code()
        env.twitch.advance(1900)
        with pytest.raises(BadRequest, match="invalid device code"):
            await flow.wait_for_device_token(code.device_code, interval=0.01)


async def test_the_time_limit_holds_when_twitch_hangs(env: Environment) -> None:
    """A poll that gets no answer does not keep the caller much longer than `timeout`."""
    env.twitch.device_interval = 0
    async with env.device() as flow:
        code = await flow.request_device_code()
        with env.twitch.hold("token:device") as gate:
            task = asyncio.create_task(
                flow.wait_for_device_token(code.device_code, interval=0.05, timeout=0.3)
            )
            await gate.reached()
            with pytest.raises(TimeoutError):
                await within(task)
