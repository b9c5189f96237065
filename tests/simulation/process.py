"""One simulated process: a vault on a machine of its own, which starts, stops, and dies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from tests.simulation.host import Host
from tests.simulation.network import SimHTTP
from tests.simulation.store import SimStore, store_of
from tests.simulation.twitch import EPOCH
from tests.simulation.weather import Weather
from twitchvault.errors import AuthFailure, StoreError, TwitchVaultError
from twitchvault.helix.client import HelixClient
from twitchvault.identity import Identity
from twitchvault.loops import LoopBinding
from twitchvault.vault.clocks import Clocks
from twitchvault.vault.record import TokenPair
from twitchvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.simulation.facts import Pair, Request
    from tests.simulation.loop import SimLoop
    from tests.simulation.world import World

__all__ = ["Call", "Making", "Process", "Seed"]

Making: TypeAlias = "Callable[[], Coroutine[Any, Any, object]]"
"""Makes the coroutine of a call, once its task has begun."""

ID_URL: Final = "https://id.test/oauth2"
API_URL: Final = "https://api.test/helix"
REOPEN: Final = 1.0
SLICE: Final = 0.05
"""The part of its patience that a process which closes counts at once."""


class Seed(NamedTuple):
    """A pair in a process' configuration, and what its start-up code does with it."""

    pair: Pair
    how: str


@dataclass(eq=False, slots=True)
class Call:
    """A public call: who made it, when, and what came of it."""

    process: Process
    host: Host
    what: str
    user: str
    begun: float
    ran: float
    task: asyncio.Task[None] | None = None
    ended: float | None = None
    took: float = 0.0
    """Seconds for which its process ran meanwhile."""
    outcome: str = ""
    fine: bool = False
    """It did what it was asked for."""
    login: str = ""
    """The user whom it brings a pair of."""


class SimClocks(Clocks):
    """A machine's clocks: one stands still in suspend, one does not, one is wrong by `wall_off`."""

    def __init__(self, loop: SimLoop, host: Host, boot_offset: float, wall_off: float) -> None:
        self._loop = loop
        self._host = host
        self._boot_offset = boot_offset
        self.wall_off = wall_off

    def monotonic(self) -> float:
        """Seconds without those in suspend."""
        return self._loop.now + self._host.offset

    def boottime(self) -> float:
        """Seconds with those in suspend."""
        return self._loop.now + self._boot_offset

    def wall(self) -> float:
        """Seconds since the epoch, as far as this machine knows."""
        return EPOCH + self._loop.now + self.wall_off


class Process:
    """One process and its machine. A restart gives it a new host, a new vault, and no memory."""

    def __init__(self, world: World, number: int) -> None:
        profile = world.profile
        self.world = world
        self.name = f"P{number + 1}"
        self.ttl = profile.ttls[number]
        self.weather = Weather(self.name, world.seed, profile, world.muted, self.ttl)
        self.seeds: list[Seed] = []
        self.starts = 0
        self.cut_until = 0.0
        self.closing_since: float | None = None
        self.cleared = False
        """Its vault was cleared and is not open yet."""
        self.up = False
        """Its vault is open, as far as its own code knows."""
        self._boot_offset = 1_000.0 * (number + 1)
        self._wall_off = profile.wall_off[number]
        self._slept = 0.0
        self._suspended = False
        self._start()

    def _start(self) -> None:
        world = self.world
        self.starts += 1
        name = self.name if self.starts == 1 else f"{self.name}'{self.starts}"
        self.host = world.loop.add(Host(name, offset=self._boot_offset - self._slept))
        self.clocks = SimClocks(world.loop, self.host, self._boot_offset, self._wall_off)
        world.ttl[self.host] = self.ttl
        self.store: SimStore = store_of(world, self)
        client = world.twitch.client
        self.http = SimHTTP(world, self, client.client_id)
        identity = Identity(self.http, client.client_id, client.client_secret, ID_URL)  # type: ignore[arg-type]
        self.vault = self.host.context.copy().run(self._vault, identity)
        self.helix = HelixClient(self.http, self.vault, LoopBinding(), API_URL)  # type: ignore[arg-type]
        self.helix.authorized = True
        self.closing_since = None
        self.up = self.cleared = False
        world.note(name, "starts")
        world.books.closed[self.host] = world.loop.now
        self.spawn(self._main())

    def _vault(self, identity: Identity) -> Vault:
        return Vault(
            self.store,
            identity,
            maintain=self.world.profile.maintain,
            lease_ttl=self.ttl,
            clocks=self.clocks,
        )

    async def _main(self) -> None:
        await self.open()
        for seed in self.seeds:
            await self.take(seed)

    async def open(self) -> None:
        """Open the vault, as often as it takes."""
        while True:
            try:
                await self.vault.open()
            except StoreError as error:
                self.world.note(self.host.name, f"open: {error}")
                await asyncio.sleep(REOPEN)
            else:
                break
        self.up = True
        self.closing_since = None
        self.cleared = False
        self.world.books.opened(self.host, self.world.loop.now)
        self.world.note(self.host.name, "is open")

    async def take(self, seed: Seed) -> None:
        """What start-up code does with a pair of its configuration."""
        pair = seed.pair
        make = self.world.decide(
            self,
            pair.user,
            pair,
            lambda: self.login(seed.how, pair),
            seed.how,
            restarted=self.starts > 1,
        )
        await self.call(f"start-up: {seed.how}", pair.user, make, pair)

    async def login(self, how: str, pair: Pair) -> None:
        """Bring a pair in by `add_user`, `add_token`, `refresh_token` or the last two."""
        world, host = self.world, self.host
        if how in {"refresh_token", "both"}:
            token = await self.vault.refresh_token(pair.refresh)
            found = world.books.of_access.get(token.access_token)
            # Before the store has it, no other process can know that it is the vault's.
            if found is not None and found.stored_at <= world.loop.now:
                found.published = True
            if how == "both":
                await self.vault.add_user(TokenPair(token.access_token, token.refresh_token))
            return
        if how == "add_token":
            self.vault.add_token(pair.user, TokenPair(pair.access, pair.refresh))
        else:
            await self.vault.add_user(TokenPair(pair.access, pair.refresh))
        world.books.gave(pair, host, world.loop.now)

    # Calls

    def spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task of this process."""
        context = self.host.context.copy()
        return self.world.loop.create_task(coroutine, context=context)

    def begin(self, what: str, user: str, make: Making, pair: Pair | None) -> Call:
        """Make a call in a task of its own."""
        call = self._call(what, user, pair)
        call.task = self.spawn(self._follow(call, make, pair))
        return call

    async def call(self, what: str, user: str, make: Making, pair: Pair | None) -> Call:
        """Make a call and wait for its end."""
        call = self._call(what, user, pair)
        await self._follow(call, make, pair)
        return call

    def _call(self, what: str, user: str, pair: Pair | None) -> Call:
        loop = self.world.loop
        call = Call(self, self.host, what, user, loop.now, self.host.ran(loop.now))
        call.login = "" if pair is None else user
        self.world.calls.append(call)
        return call

    async def _follow(self, call: Call, make: Making, pair: Pair | None) -> None:
        self.world.note(call.host.name, f"calls {call.what}", call.user, pair)
        try:
            await make()
            call.outcome, call.fine = "done", True
        except asyncio.CancelledError:
            call.outcome = "cancelled"
        except (TwitchVaultError, TimeoutError) as error:
            call.outcome = f"{type(error).__name__}: {error}"
            if isinstance(error, AuthFailure) and pair is not None:
                self.world.sent_away(call, pair)
        except Exception as error:
            call.outcome = f"{type(error).__name__}: {error}"
            self.world.bug(call, error)
        call.ended = self.world.loop.now
        call.took = call.host.ran(call.ended) - call.ran
        self.world.note(call.host.name, f"{call.what}: {call.outcome}", call.user)

    # What happens to it

    @property
    def alive(self) -> bool:
        """Whether it runs or stands still, but is not dead."""
        return not self.host.dead

    def out_of_reach(self) -> float:
        """Seconds until a store call fails that is made now; 0: it reaches the store."""
        if max(self.cut_until, self.world.outage_until) <= self.world.loop.now:
            return 0.0
        return 0.01 + self.weather.chance.random()

    def waited_enough(self, request: Request) -> bool:
        """Whether it may stop to wait for the answer of an exchange: it is closing."""
        since = self.closing_since
        if since is None:
            return False
        # It counts in slices, each of which a standstill may cut off.
        return request.host.ran(self.world.loop.now) - since >= self.ttl * (1 - SLICE)

    def crash(self) -> None:
        """It is killed; nothing of it runs any more."""
        if not self.alive:
            return
        world = self.world
        world.note(self.host.name, "is killed")
        for feed in tuple(self.store.feeds):
            feed.end()
        world.loop.kill(self.host)
        world.books.die(self.host, world.loop.now)
        world.graves.append(self.host)
        self.up = False

    def restart(self, *, seeds: bool) -> None:
        """It is started again, with or without the pairs of its configuration."""
        if self.alive:
            return
        self.seeds = self.seeds if seeds else []
        self._start()

    def stop(self, seconds: float, *, suspended: bool = False) -> None:
        """It stands still for a while; its monotonic clock too, if the machine is suspended."""
        host, world = self.host, self.world
        if host.held or host.dead:
            return
        what = "is suspended" if suspended else "is stopped"
        world.note(host.name, f"{what} for {seconds:.2f} s")
        world.books.upset(host, world.loop.now, world.loop.now + seconds)
        if suspended:
            world.books.no_gaps.add((host, world.loop.now))
        self._suspended = suspended
        world.loop.hold(host)
        world.loop.at(seconds, self.go_on, host)

    def go_on(self, host: Host) -> None:
        """It stands still no longer, if it is still the same process."""
        if host.held and not host.dead:
            self.world.note(host.name, "goes on")
            if self._suspended:
                self._slept += self.world.loop.now - host.held_since
            self.world.loop.release(host, suspended=self._suspended)

    def jump(self, seconds: float) -> None:
        """Its wall clock is set."""
        self._wall_off += seconds
        self.clocks.wall_off = self._wall_off
        self.world.books.jumps.setdefault(self.host, []).append(self.world.loop.now)
        self.world.note(self.host.name, f"wall clock jumps by {seconds:.0f} s")

    def trap(self, step: int, act: Callable[[], None]) -> None:
        """Do something right before its step of that number from now."""
        self.host.trap_at = self.host.steps + step
        self.host.trap = act
