"""One run: a world made of a seed, what happens in it, and what the checks say about it."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

from tests.simulation.acts import disturb, perform, plan
from tests.simulation.books import Books
from tests.simulation.check import check
from tests.simulation.excuses import replay
from tests.simulation.excuses_of_loss import needs_login
from tests.simulation.facts import Decision, Loss
from tests.simulation.loop import IdleError, SimLoop
from tests.simulation.process import Process, Seed
from tests.simulation.profile import draw
from tests.simulation.result import CHECK, Event, Result, Violation
from tests.simulation.server import Server
from tests.simulation.twitch import Twitch
from tests.simulation.weather import Muted
from twitchvault.errors import StoreError
from twitchvault.testing.fake.messages import Answer, helix_error, identity_error

if TYPE_CHECKING:
    from tests.simulation.facts import Pair, Request
    from tests.simulation.host import Host
    from tests.simulation.process import Call, Making
    from tests.simulation.sign_in import Prompt
from twitchvault.testing.fake.messages import Call as Wire

__all__ = ["World", "simulate"]

STEPS: Final = 100_000
"""A run that takes more steps of the loop goes round in circles."""
SETTLING: Final = 65.0
LONGEST: Final = 2_000.0
LOSSES: Final = ("all", "newest", "newest", "key", "snapshot")


class World:
    """Everything that a run consists of."""

    def __init__(self, seed: int, muted: Muted) -> None:
        self.seed = seed
        self.profile = draw(seed)
        self.muted = muted
        self.loop = SimLoop(random.Random(f"loop {seed}"), STEPS)
        self.books = Books()
        self.server = Server()
        self.history: list[Event] = []
        self.violations: list[Violation] = []
        self.unavoidable: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.graves: list[Host] = []
        self.outage_until = 0.0
        self.ttl: dict[Host, float] = {}
        self.twitch = Twitch(self, seed)
        self.users = [user.user_id for user in self.twitch.users]
        self.processes: list[Process] = []
        self.store_calls = 0
        self.codes: list[Prompt] = []

    # What happened

    def note(self, who: str, what: str, *facts: object) -> None:
        """Add a line to the history."""
        # A pair would keep the whole world alive.
        names = tuple(map(str, filter(None, facts)))
        self.history.append(Event(self.loop.now, who, what, names))

    def violation(self, kind: str, text: str) -> None:
        """A promise is broken."""
        self.violations.append(Violation(kind, text))
        self.note(CHECK, f"{kind}: {text}")

    def bug(self, call: Call, error: Exception) -> None:
        """A call raised what no call may raise; when a run is over, its tasks are just unwound."""
        if self.loop.is_closed():
            return
        self.violation("bug", f"{call.what} raised {type(error).__name__}: {error}")

    def sent_away(self, call: Call, pair: Pair) -> None:
        """A login was refused, though it may be good, and no other login or removal has come."""
        good = self.twitch.takes_refresh(pair.refresh) and not self.books.is_known(pair)
        good &= pair.user not in self.books.mixed_up
        self.run_out(pair)
        good &= all(one.chain == pair.chain for one in self.books.decisions_on(pair.user))
        if good and needs_login(self.books, pair, self.loop.now) is None:
            text = f"{call.what} refuses {pair.refresh}, which Twitch takes: {call.outcome}"
            self.violation("wrong needs_login", text)

    def shows_code(self, shown: Prompt) -> None:
        """A process asks a user to approve a code; nobody else may who could know of that."""
        self.note(shown.host.name, "shows a code", shown.user)
        others = [one for one in self.codes if one.user == shown.user and not one.host.dead]
        self.codes.append(shown)
        if all(self._holds_lease(one) for one in (shown, *others)):
            for other in others:
                text = f"{shown.host.name} and {other.host.name} show {shown.user} a code each"
                self.violation("other", text)

    def _holds_lease(self, shown: Prompt) -> bool:
        """Whether nothing has kept a process from its lease since shortly before it had it."""
        since = shown.since - self.ttl[shown.host]
        lost = any(loss.at >= since for loss in self.books.losses)
        return not lost and not self.books.disturbed(shown.host, since, self.loop.now)

    def run_out(self, pair: Pair) -> None:
        """Note when the access token runs out by itself."""
        pair.ends_at = self.twitch.expiry(pair.access)
        pair.dead_at = min(pair.dead_at, pair.ends_at)

    def replayed(self, request: Request, old: Pair) -> None:
        """A spent token was presented."""
        self.run_out(old)
        reason = replay(self.books, self.ttl, request, old)
        if reason is None:
            text = f"{request.host.name} presented {old.refresh}, which was spent"
            self.violation("avoidable replay", text)
        else:
            self.unavoidable[f"replay: {reason}"] += 1
            self.note(CHECK, f"unavoidable replay: {reason}", old.refresh)

    def exchanged(self, request: Request, pair: Pair) -> None:
        """Twitch has committed an exchange of a process."""
        process = self.process_of(request.host)
        if process is not None:
            disturb(self, process, "committed", pair.user)

    def lie(self, request: Request, call: Wire) -> Answer:
        """Twitch calls a good token dead."""
        token, books = request.token, self.books
        if request.endpoint == "refresh":
            if self.twitch.takes_refresh(token):
                books.refused_falsely.add(token)
                self.note("Twitch", "lies about", token)
                return identity_error(400, "Invalid refresh token")
        elif self.twitch.takes(token):
            books.lied.setdefault(token, self.loop.now)
            self.note("Twitch", "lies about", token)
            if request.endpoint == "helix":
                return helix_error(401, "Invalid OAuth token")
            return identity_error(401, "invalid access token")
        return self.twitch.handle(request, call)

    # The store

    def user_of(self, key: str) -> str | None:
        """The user whose record has this key."""
        user = key.removeprefix(f"{self.twitch.client.client_id}:")
        return user if user in self.users else None

    def stored(self, process: Process, host: Host, key: str, value: bytes | None) -> None:
        """The store took a write."""
        user = self.user_of(key)
        if user is None and value is not None and not value.startswith(b'{"schema"'):
            return
        self.books.committed(host, user, value, self.loop.now)
        stored = None if value is None else self.books.stored(value)
        pair = self.books.pair_in(value)
        state = "deleted" if stored is None else stored.state
        leased = stored is not None and stored.lease is not None
        number = 0 if stored is None else stored.generation
        self.note(host.name, f"wrote {state} {number}{', leased' if leased else ''}", key, pair)
        if host is process.host and pair is not None and not host.dead:
            if leased:
                disturb(self, process, "leased", user or pair.user)
            elif host in pair.received:
                disturb(self, process, "written", user or pair.user)

    def showed(self, host: Host, key: str, value: bytes | None, *, taken_in: bool = True) -> None:
        """A process was told what stands under a key. It keeps what is of users."""
        user = self.user_of(key)
        if user is not None:
            self.books.showed(host, user, value, self.loop.now, taken_in=taken_in)

    def lose(self, chance: random.Random) -> None:
        """The store goes back in time."""
        kind = chance.choice(LOSSES)
        keys = self.server.lose(kind, chance, self.loop.now)
        self.books.losses.append(Loss(self.loop.now, frozenset(keys)))
        self.note("store", f"loses data ({kind})", *sorted(keys))

    def told_of_loss(self, host: Host) -> None:
        """A process is told of a loss."""
        self.note(host.name, "is told that the store lost data")
        for loss in self.books.losses:
            loss.told.setdefault(host, self.loop.now)

    def outage(self, seconds: float) -> None:
        """Nobody reaches the store."""
        self.outage_until = max(self.outage_until, self.loop.now + seconds)
        for process in self.processes:
            self.books.upset(process.host, self.loop.now, self.outage_until)
        self.note("store", f"is out of reach for {seconds:.2f} s")

    def cut(self, process: Process, seconds: float) -> None:
        """One process does not reach the store."""
        process.cut_until = max(process.cut_until, self.loop.now + seconds)
        self.books.upset(process.host, self.loop.now, process.cut_until)
        self.note(process.host.name, f"is cut off from the store for {seconds:.2f} s")

    # Users and processes

    def decide(
        self,
        process: Process,
        user: str,
        pair: Pair | None,
        make: Making,
        how: str = "",
        *,
        restarted: bool = False,
    ) -> Making:
        """`make`, watched: a process is asked for a login or, without a pair, for a removal.

        `restarted`: it does that by itself, with a pair of its configuration.
        """
        # An exchanged pair changes nothing, unless a loss has made everybody forget that.
        forgotten = any(loss.concerns(user) for loss in self.books.losses)
        known = pair is not None and self.books.is_known(pair) and how != "both"
        either = pair is not None and self.books.may_be_either(
            pair, lives=self.twitch.takes(pair.access)
        )
        unclear = either and pair is not None and self.books.was_joined(pair)
        # Of what was decided since, who brings an old pair need not know.
        unclear |= restarted and pair is not None and self.books.was_overruled(pair)
        if known and not forgotten and not (either or unclear):
            return make
        chain, place = (0, 0) if pair is None else (pair.chain, pair.place)
        decision = Decision(user, chain, place, process.host, self.loop.now)
        self.books.decisions.append(decision)
        if unclear:
            return make

        async def watched() -> None:
            # A change that could not be written yet stays queued, and takes effect later.
            try:
                await make()
            except StoreError:
                raise
            except BaseException:
                decision.ended_at = self.loop.now
                raise
            decision.ended_at = self.loop.now

        return watched

    def process_of(self, host: Host) -> Process | None:
        """The process that runs in this host now."""
        return next((one for one in self.processes if one.host is host), None)

    async def reopen(self, process: Process, pause: float) -> None:
        """Close the vault and open it again."""
        process.closing_since = process.host.ran(self.loop.now)
        await process.call("close", "", process.vault.close, None)
        self.books.closed[process.host] = self.loop.now
        await asyncio.sleep(pause)
        await process.open()

    async def clear_and_open(self, process: Process, pause: float) -> None:
        """Clear the vault and open it again."""
        self.note(process.host.name, "clears")
        process.vault.clear()
        process.cleared = True
        self.books.closed[process.host] = self.loop.now
        self.books.no_gaps.add((process.host, self.loop.now))
        self.books.forgot(process.host, self.loop.now)
        await asyncio.sleep(pause)
        self.books.forgot(process.host, self.loop.now)  # it took nothing in until now
        await process.open()

    # The course of a run

    def run(self) -> None:
        """From the first start to the last check."""
        self._begin()
        acts = plan(self.seed, self.profile)
        for act in acts:
            self.loop.at(act.at, perform, self, act)
        self._run_until(acts[-1].at + 0.1)
        self._calm()
        self._run_until_quiet()
        check(self)

    def _begin(self) -> None:
        chance = random.Random(f"begin {self.seed}")
        for number in range(self.profile.processes):
            self.processes.append(Process(self, number))
        for user in self.users:
            pair = self.twitch.consent(user, expired=chance.random() < 0.3)
            how = chance.choice(("add_user", "add_token", "refresh_token", "both"))
            for process in self.processes:
                if process.name == "P1" or chance.random() < 0.5:
                    process.seeds.append(Seed(pair, how))

    def _run_until(self, time: float) -> None:
        self.loop.at(max(0.0, time - self.loop.now), lambda: None)
        try:
            self.loop.run_to(time)
        except IdleError:
            self.loop.now = time

    def _calm(self) -> None:
        """From now on nothing goes wrong."""
        self.muted.calm = True
        self.note("world", "calms down")
        self.outage_until = 0.0
        self.books.calm_down(self.loop.now)
        for process in self.processes:
            process.cut_until = 0.0
            process.host.trap_at = 0
            process.go_on(process.host)
            process.restart(seeds=True)

    def _run_until_quiet(self) -> None:
        end = self.loop.now + SETTLING + 3 * max(self.profile.ttls)
        limit = self.loop.now + LONGEST
        self._run_until(end)
        while self.busy() and self.loop.now < limit and not self.loop.too_long():
            self._run_until(self.loop.now + 10)

    def busy(self) -> bool:
        """Whether a living process is still at something that somebody waits for."""
        if not all(process.up for process in self.processes):
            return True
        if any(call.ended is None and not call.host.dead for call in self.calls):
            return True
        sending = self.sending()
        return any(process.host in sending for process in self.processes)

    def sending(self) -> set[Host]:
        """Those whose exchanges are on their way."""
        return {
            one.host for one in self.books.requests if one.endpoint == "refresh" and one.is_open
        }

    def probe(self, seconds: float) -> None:
        """Run on until no call is open, for so long at most."""
        limit = self.loop.now + seconds
        while self.busy() and self.loop.now < limit and not self.loop.too_long():
            self._run_until(min(limit, self.loop.now + 5))

    def probe_pause(self, seconds: float) -> None:
        """Let time go by."""
        self._run_until(self.loop.now + seconds)

    def end(self) -> None:
        """Take everything down. What still wants to run has no effect any more."""
        hosts = [*self.graves, *self.loop.hosts]
        self.loop.close()
        for host in hosts:
            self.loop.dispose(host)


def simulate(seed: int, muted: frozenset[str] = frozenset()) -> Result:
    """Run one seed, without what is muted."""
    random.seed(seed)
    state = Muted(muted)
    # Names of leases, too, are part of a run.
    token_hex = patch.object(secrets, "token_hex", lambda size: random.randbytes(size).hex())
    with token_hex, patch.object(os, "getpid", lambda: 1):
        world = World(seed, state)
        try:
            world.run()
        finally:
            world.end()
    return Result(
        seed,
        world.violations,
        world.unavoidable,
        state.kinds,
        state.happened,
        world.history,
        len(world.history) + world.store_calls,
    )
