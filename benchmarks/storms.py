"""Many callers of one expired token: in one process, in several, and cancelled."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from benchmarks import peers
from benchmarks.processes import Worker, valkey
from benchmarks.runner import Candidate, Line, Plan, Result, Skipped, expect, measure
from benchmarks.worker import VaultClient, status_of
from twitchvault import open_store
from twitchvault.testing import FakeTwitchProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twitchvault.testing.fake import Client, Counts

PROCESSES: Final = 4
SPREAD: Final = 0.6
TIMEOUT: Final = 8.0
"""Seconds after which a call counts as hung."""


class Environment:
    """A double in a process of its own and one client of it; each account is a new user."""

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
async def environment() -> AsyncIterator[Environment]:
    """The double, without a limit on Helix calls."""
    async with FakeTwitchProcess(seed=7) as twitch:
        await twitch.configure(helix_limit=1_000_000)
        yield Environment(twitch, await twitch.register_client())


def credentials(account: dict[str, str]) -> tuple[str, str, str]:
    """Client id, client secret and address, which every client takes."""
    return account["client_id"], account["client_secret"], account["root"]


def clients(result: Result) -> list[tuple[str, Any, Callable[[dict[str, str]], Any]]]:
    """Name, role and maker of everybody who is installed."""
    found: list[tuple[str, Any, Callable[[dict[str, str]], Any]]] = [
        (VaultClient.name, "ours", lambda account: VaultClient(*credentials(account), None))
    ]
    for kind in peers.CLIENTS:
        try:
            peers.module({"TwitchIO": "twitchio"}.get(kind.name, kind.name))
        except Skipped as error:
            result.skipped.append(f"{kind.name}: {error}")
        else:
            found.append((kind.name, "peer", _maker(kind)))
    return found


def _maker(kind: Callable[[str, str, str], Any]) -> Callable[[dict[str, str]], Any]:
    return lambda account: kind(*credentials(account))


async def one_process(plan: Plan) -> list[Result]:
    """Many calls at once on one expired token."""
    count = plan.count(200)
    title = f"1 process, {count} calls at once, one expired token"
    result = Result("storm", title)
    tallies: dict[str, list[tuple[int, int, int, int]]] = {}
    async with environment() as env:

        def storm(who: str, make: Callable[[dict[str, str]], Any]) -> Any:  # noqa: ANN401
            async def run() -> float:
                account = await env.account()
                caller = make(account)
                await caller.start(account["access"], account["refresh"], account["user_id"])
                expect(await caller.call(), f"{who} cannot even make a call")
                await env.twitch.expire_access(account["access"])
                before = await env.twitch.counts()
                began = time.perf_counter()
                calls = (status_of(caller.call(), TIMEOUT) for _ in range(count))
                results = await asyncio.gather(*calls)
                took = time.perf_counter() - began
                tally = (*await env.since(before), results.count("failed"), results.count("hung"))
                tallies.setdefault(who, []).append(tally)
                await status_of(caller.close(), TIMEOUT)
                return took

            return run

        async def bare() -> float:
            return await _bare_calls(env, 2 * count)

        candidates = [
            Candidate(f"{2 * count} bare calls, aiohttp", "limit", bare),
            *(Candidate(who, role, storm(who, make)) for who, role, make in clients(result)),
        ]
        await measure(result, candidates, plan.rounds(9))
    for who, found in tallies.items():
        if any(line.who == who for line in result.lines):
            result.line(who).note = note(max(found))
    exchanges, replays, failed, hung = max(tallies[VaultClient.name])
    result.require(
        "1 exchange", f"{exchanges}", passed={t[0] for t in tallies[VaultClient.name]} == {1}
    )
    result.require(
        "0 failed",
        f"{failed + hung}",
        passed=not any(sum(t[1:]) for t in tallies[VaultClient.name]),
    )
    expect(replays == 0, "a spent token was presented")
    result.require_ratio(VaultClient.name, 1.5, f"{2 * count} bare calls")
    return [result]


def note(tally: tuple[int, int, int, int]) -> str:
    """The worst round in words."""
    exchanges, replays, failed, hung = tally
    plural = "" if exchanges == 1 else "s"
    return f"{exchanges} exchange{plural}, {replays} replays, {failed} failed, {hung} hung"


async def _bare_calls(env: Environment, count: int) -> float:
    account = await env.account()
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


async def processes(plan: Plan) -> list[Result]:
    """Several processes; ours share a store, the peers have nothing that they could share."""
    title = f"{PROCESSES} processes, {plan.count(50)} calls each at once, one expired token"
    return await _processes(plan, Result("storm-processes", title), 0.0)


async def spread(plan: Plan) -> list[Result]:
    """The same, with calls that come one after the other, as they usually do."""
    title = (
        f"{PROCESSES} processes, {plan.count(50)} calls each over {SPREAD:g} s, one expired token"
    )
    return await _processes(plan, Result("storm-spread", title), SPREAD)


async def _processes(plan: Plan, result: Result, spread: float) -> list[Result]:
    async with environment() as env, valkey() as port:
        stores: list[tuple[str, str, str | None]] = [
            (
                "twitchvault, SQLite",
                VaultClient.name,
                f"sqlite:///{plan.folder}/{result.case}-%d.db",
            ),
            ("twitchvault, Redis", VaultClient.name, f"redis://127.0.0.1:{port}/%d"),
            *((who, who, None) for who, role, _ in clients(result) if role == "peer"),
        ]
        for label, who, store in stores:
            try:
                await _fleets(plan, result, env, label, (who, store, spread))
            except Exception as error:
                if store:
                    raise
                result.skipped.append(f"{label}: {type(error).__name__}: {error}")
    return [result]


async def _fleets(
    plan: Plan, result: Result, env: Environment, label: str, callers: tuple[str, str | None, float]
) -> None:
    who, store, spread = callers
    tallies = []
    line = Line(label, "ours" if store else "peer")
    for turn in range(plan.rounds(3)):
        place = store % turn if store else None
        tally, took = await _fleet(env, who, plan, place, spread)
        tallies.append(tally)
        line.samples.append(took)
    line.note = note(max(tallies))
    result.lines.append(line)
    if store:
        passed = all(tally == (1, 0, 0, 0) for tally in tallies)
        result.require(f"{label}: 1 exchange, 0 failed, 0 hung", line.note, passed=passed)


async def _fleet(
    env: Environment, who: str, plan: Plan, store: str | None, spread: float
) -> tuple[tuple[int, int, int, int], float]:
    account = await env.account()
    options = {"who": who, "account": account, "count": plan.count(50), "store": store}
    options["spread"] = spread
    async with AsyncExitStack() as stack:
        number = 2 if plan.tiny else PROCESSES
        starting = (Worker.start("calls", **options) for _ in range(number))
        workers, failures = [], []
        for worker in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(worker, Worker):
                stack.push_async_callback(worker.stop)
                workers.append(worker)
            else:
                failures.append(worker)
        if failures:
            raise failures[0]
        await env.twitch.expire_access(account["access"])
        before = await env.twitch.counts()
        began = time.perf_counter()
        for worker in workers:
            worker.go()
        results = await asyncio.gather(*(worker.result() for worker in workers))
        took = time.perf_counter() - began
        exchanges, replays = await env.since(before)
    failed, hung = (sum(result[kind] for result in results) for kind in ("failed", "hung"))
    return (exchanges, replays, failed, hung), took


async def cancelled(plan: Plan) -> list[Result]:
    """The only caller is cancelled while its refresh is under way and Twitch has committed it."""
    result = Result("storm-cancel", "a caller cancelled during the refresh")
    async with environment() as env:
        for who, role, make in clients(result):
            store = f"sqlite:///{plan.folder}/cancel.db" if role == "ours" else None
            stored, works, took = await _cancel(env, who, make, store)
            pair = {True: "pair stored, ", False: "pair lost, ", None: ""}[stored]
            text = f"{pair}next call: {works}"
            result.lines.append(Line(who, role, [took], note=text))
            if role == "ours":
                passed = bool(stored) and works == "ok"
                result.require("pair stored, next call works", text, passed=passed)
    return [result]


async def _cancel(
    env: Environment, who: str, make: Callable[[dict[str, str]], Any], store: str | None
) -> tuple[bool | None, str, float]:
    account = await env.account()
    caller = VaultClient(*credentials(account), store) if store else make(account)
    await caller.start(account["access"], account["refresh"], account["user_id"])
    expect(await caller.call(), f"{who} cannot even make a call")
    await env.twitch.expire_access(account["access"])
    gate = await env.twitch.hold("token:refresh_token", when="after")
    call = asyncio.create_task(status_of(caller.call(), 30))
    await gate.reached(1)
    call.cancel()
    await asyncio.wait({call})
    await gate.release()
    began = time.perf_counter()
    works = await status_of(caller.call(), TIMEOUT)
    took = time.perf_counter() - began
    stored = await _is_stored(env, account, store) if store else None
    await status_of(caller.close(), TIMEOUT)
    return stored, works, took


async def _is_stored(env: Environment, account: dict[str, str], url: str) -> bool:
    live = await env.twitch.live_pair(env.client, account["user_id"])
    store = open_store(url)
    await store.open()
    try:
        entry = await store.get(f"{account['client_id']}:{account['user_id']}")
    finally:
        await store.close()
    return bool(live and entry and live.refresh_token.encode() in entry.value)
