"""An expired token and many who want to use it: in one process, in several, and cancelled."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from benchmarks import peers
from benchmarks.hands import Ours, outcome_of
from benchmarks.places import Hand, valkey
from benchmarks.race import Contestant, LeftOut, Line, Outcome, Plan, expect, race
from twitchvault import open_store
from twitchvault.testing import FakeTwitchProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twitchvault.testing.fake import Client, Counts

PROCESSES: Final = 4
SPREAD: Final = 0.6
PATIENCE: Final = 8.0
"""Seconds after which a call counts as hung."""


class Stage:
    """A double in a process of its own and one client of it; each scene has a user of its own."""

    def __init__(self, twitch: FakeTwitchProcess, client: Client) -> None:
        self.twitch = twitch
        self.client = client
        self._users = 0

    async def account(self) -> dict[str, str]:
        """A new user with a pair that is good."""
        self._users += 1
        user = await self.twitch.add_user(f"user{self._users}")
        pair = await self.twitch.issue(self.client, user, ["chat:read"])
        return {
            "client_id": self.client.client_id,
            "client_secret": self.client.client_secret or "",
            "root": self.twitch.url,
            "access": pair.access_token,
            "refresh": pair.refresh_token,
            "user_id": pair.user_id,
        }

    async def since(self, before: Counts) -> tuple[int, int]:
        """Exchanges and replays since then."""
        now = await self.twitch.counts()
        return now.exchanges - before.exchanges, now.replays - before.replays


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """The double, without a limit on Helix calls."""
    async with FakeTwitchProcess(seed=7) as twitch:
        await twitch.configure(helix_limit=1_000_000)
        yield Stage(twitch, await twitch.register_client())


def door(account: dict[str, str]) -> tuple[str, str, str]:
    """What every client needs to be made."""
    return account["client_id"], account["client_secret"], account["root"]


def clients(outcome: Outcome) -> list[tuple[str, Any, Callable[[dict[str, str]], Any]]]:
    """Name, role and maker of everybody who is installed."""
    found: list[tuple[str, Any, Callable[[dict[str, str]], Any]]] = [
        (Ours.name, "ours", lambda account: Ours(*door(account), None))
    ]
    for kind in peers.CLIENTS:
        try:
            peers.module({"TwitchIO": "twitchio"}.get(kind.name, kind.name))
        except LeftOut as error:
            outcome.left_out.append(f"{kind.name}: {error}")
        else:
            found.append((kind.name, "peer", _maker(kind)))
    return found


def _maker(kind: Callable[[str, str, str], Any]) -> Callable[[dict[str, str]], Any]:
    return lambda account: kind(*door(account))


async def one_process(plan: Plan) -> list[Outcome]:
    """Many calls at once on one expired token."""
    count = plan.count(200)
    title = f"1 process, {count} calls at once, one expired token"
    outcome = Outcome("storm", title)
    tallies: dict[str, list[tuple[int, int, int, int]]] = {}
    async with stage() as scene:

        def storm(who: str, make: Callable[[dict[str, str]], Any]) -> Any:  # noqa: ANN401
            async def run() -> float:
                account = await scene.account()
                caller = make(account)
                await caller.start(account["access"], account["refresh"], account["user_id"])
                expect(await caller.call(), f"{who} cannot even make a call")
                await scene.twitch.expire_access(account["access"])
                before = await scene.twitch.counts()
                began = time.perf_counter()
                calls = (outcome_of(caller.call(), PATIENCE) for _ in range(count))
                results = await asyncio.gather(*calls)
                took = time.perf_counter() - began
                tally = (*await scene.since(before), results.count("failed"), results.count("hung"))
                tallies.setdefault(who, []).append(tally)
                await outcome_of(caller.close(), PATIENCE)
                return took

            return run

        async def bare() -> float:
            return await _bare_calls(scene, 2 * count)

        contestants = [
            Contestant(f"{2 * count} bare calls, aiohttp", "limit", bare),
            *(Contestant(who, role, storm(who, make)) for who, role, make in clients(outcome)),
        ]
        await race(outcome, contestants, plan.rounds(9))
    for who, found in tallies.items():
        if any(line.who == who for line in outcome.lines):
            outcome.line(who).said = said(max(found))
    exchanges, replays, failed, hung = max(tallies[Ours.name])
    outcome.must("1 exchange", f"{exchanges}", met={t[0] for t in tallies[Ours.name]} == {1})
    outcome.must(
        "0 failed", f"{failed + hung}", met=not any(sum(t[1:]) for t in tallies[Ours.name])
    )
    expect(replays == 0, "a spent token was presented")
    outcome.keep(Ours.name, 1.5, f"{2 * count} bare calls")
    return [outcome]


def said(tally: tuple[int, int, int, int]) -> str:
    """The worst round in words."""
    exchanges, replays, failed, hung = tally
    plural = "" if exchanges == 1 else "s"
    return f"{exchanges} exchange{plural}, {replays} replays, {failed} failed, {hung} hung"


async def _bare_calls(scene: Stage, count: int) -> float:
    account = await scene.account()
    headers = {"Authorization": f"Bearer {account['access']}", "Client-Id": account["client_id"]}
    url = f"{account['root']}/helix/users"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def one() -> str:
            async with session.get(url) as answer:
                return str((await answer.json())["data"][0]["id"])

        await one()
        began = time.perf_counter()
        found = await asyncio.gather(*(one() for _ in range(count)))
        took = time.perf_counter() - began
    expect(set(found) == {account["user_id"]}, "a bare call got a wrong answer")
    return took


async def processes(plan: Plan) -> list[Outcome]:
    """Several processes; ours share a store, the peers have nothing that they could share."""
    title = f"{PROCESSES} processes, {plan.count(50)} calls each at once, one expired token"
    return await _processes(plan, Outcome("storm-processes", title), 0.0)


async def spread(plan: Plan) -> list[Outcome]:
    """The same, with calls that come one after the other, as they do in life."""
    title = (
        f"{PROCESSES} processes, {plan.count(50)} calls each over {SPREAD:g} s, one expired token"
    )
    return await _processes(plan, Outcome("storm-spread", title), SPREAD)


async def _processes(plan: Plan, outcome: Outcome, spread: float) -> list[Outcome]:
    async with stage() as scene, valkey() as port:
        stores: list[tuple[str, str, str | None]] = [
            ("twitchvault, SQLite", Ours.name, f"sqlite:///{plan.folder}/{outcome.case}-%d.db"),
            ("twitchvault, Redis", Ours.name, f"redis://127.0.0.1:{port}/%d"),
            *((who, who, None) for who, role, _ in clients(outcome) if role == "peer"),
        ]
        for label, who, store in stores:
            try:
                await _fleets(plan, outcome, scene, label, (who, store, spread))
            except Exception as error:
                if store:
                    raise
                outcome.left_out.append(f"{label}: {type(error).__name__}: {error}")
    return [outcome]


async def _fleets(
    plan: Plan, outcome: Outcome, scene: Stage, label: str, callers: tuple[str, str | None, float]
) -> None:
    who, store, spread = callers
    tallies = []
    line = Line(label, "ours" if store else "peer")
    for turn in range(plan.rounds(3)):
        place = store % turn if store else None
        tally, took = await _fleet(scene, who, plan, place, spread)
        tallies.append(tally)
        line.samples.append(took)
    line.said = said(max(tallies))
    outcome.lines.append(line)
    if store:
        met = all(tally == (1, 0, 0, 0) for tally in tallies)
        outcome.must(f"{label}: 1 exchange, 0 failed, 0 hung", line.said, met=met)


async def _fleet(
    scene: Stage, who: str, plan: Plan, store: str | None, spread: float
) -> tuple[tuple[int, int, int, int], float]:
    account = await scene.account()
    options = {"who": who, "account": account, "count": plan.count(50), "store": store}
    options["spread"] = spread
    async with AsyncExitStack() as stack:
        number = 2 if plan.tiny else PROCESSES
        hired = (Hand.hire("calls", **options) for _ in range(number))
        hands, failures = [], []
        for hand in await asyncio.gather(*hired, return_exceptions=True):
            if isinstance(hand, Hand):
                stack.push_async_callback(hand.dismiss)
                hands.append(hand)
            else:
                failures.append(hand)
        if failures:
            raise failures[0]
        await scene.twitch.expire_access(account["access"])
        before = await scene.twitch.counts()
        began = time.perf_counter()
        for hand in hands:
            hand.go()
        results = await asyncio.gather(*(hand.result() for hand in hands))
        took = time.perf_counter() - began
        exchanges, replays = await scene.since(before)
    failed, hung = (sum(result[kind] for result in results) for kind in ("failed", "hung"))
    return (exchanges, replays, failed, hung), took


async def cancelled(plan: Plan) -> list[Outcome]:
    """The only caller is cancelled while its refresh is under way and Twitch has committed it."""
    outcome = Outcome("storm-cancel", "a caller cancelled during the refresh")
    async with stage() as scene:
        for who, role, make in clients(outcome):
            store = f"sqlite:///{plan.folder}/cancel.db" if role == "ours" else None
            stored, works, took = await _cancel(scene, who, make, store)
            pair = {True: "pair stored, ", False: "pair lost, ", None: ""}[stored]
            text = f"{pair}next call: {works}"
            outcome.lines.append(Line(who, role, [took], said=text))
            if role == "ours":
                met = bool(stored) and works == "ok"
                outcome.must("pair stored, next call works", text, met=met)
    return [outcome]


async def _cancel(
    scene: Stage, who: str, make: Callable[[dict[str, str]], Any], store: str | None
) -> tuple[bool | None, str, float]:
    account = await scene.account()
    caller = Ours(*door(account), store) if store else make(account)
    await caller.start(account["access"], account["refresh"], account["user_id"])
    expect(await caller.call(), f"{who} cannot even make a call")
    await scene.twitch.expire_access(account["access"])
    gate = await scene.twitch.hold("token:refresh_token", when="after")
    call = asyncio.create_task(outcome_of(caller.call(), 30))
    await gate.reached(1)
    call.cancel()
    await asyncio.wait({call})
    await gate.release()
    began = time.perf_counter()
    works = await outcome_of(caller.call(), PATIENCE)
    took = time.perf_counter() - began
    stored = await _is_stored(scene, account, store) if store else None
    await outcome_of(caller.close(), PATIENCE)
    return stored, works, took


async def _is_stored(scene: Stage, account: dict[str, str], url: str) -> bool:
    live = await scene.twitch.live_pair(scene.client, account["user_id"])
    store = open_store(url)
    await store.open()
    try:
        entry = await store.get(f"{account['client_id']}:{account['user_id']}")
    finally:
        await store.close()
    return bool(live and entry and live.refresh_token.encode() in entry.value)
