"""What users, operators and bad luck do, and when: all of it comes from the seed."""

from __future__ import annotations

import random
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.simulation.sign_in import sign_in
from tests.simulation.twitch import RESOURCE
from twitchvault.vault.record import TokenPair

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.simulation.facts import Pair
    from tests.simulation.process import Call, Making, Process
    from tests.simulation.profile import Profile
    from tests.simulation.world import World

__all__ = ["disturb", "helix_call", "perform", "plan"]

MISTAKES: Final = 0.1
"""How many of the pairs that come from a file stand under another user there."""
LOSSES: Final = 100
"""So often a store loses data: the logins after a loss may meet the next ones, without an end."""
REMEMBERED: Final = 16
"""So many exchanges back a vault has to know its own spent tokens."""


ACTS: Final[dict[str, Callable[[Scene], None]]] = {}
WEIGHTS: Final[dict[str, float]] = {}
"""How often each of them is planned."""


class Act(NamedTuple):
    """One thing that happens at a time of its own; `seed` decides its details."""

    name: str
    at: float
    what: str
    process: int
    user: int
    seed: str


def plan(seed: int, profile: Profile) -> list[Act]:
    """All acts of a run."""
    chance = random.Random(f"acts {seed}")
    weights = {what: weight * chance.expovariate(1.0) for what, weight in WEIGHTS.items()}
    for what in weights:
        if what not in {"call", "burst"} and chance.random() < 0.4:
            weights[what] = 0.0
    names, cumulative = list(weights), list(accumulate(weights.values()))
    acts, at = [], 0.0
    for number in range(profile.acts):
        at += chance.expovariate(1.0) * profile.pace
        what = chance.choices(names, cum_weights=cumulative)[0]
        process, user = chance.randrange(profile.processes), chance.randrange(profile.users)
        acts.append(Act(f"act {number + 1}", at, what, process, user, f"{seed} {number}"))
    return acts


def perform(world: World, act: Act) -> None:
    """Do it now, unless it is muted or impossible."""
    process = world.processes[act.process]
    if not process.alive and act.what not in {"crash", "disconnect", "outside", "lose", "outage"}:
        return
    if world.muted.lets(act.name, f"act: {act.what}"):
        chance = partial(random.Random, act.seed)
        ACTS[act.what](Scene(world, process, world.users[act.user], chance))


class Scene:
    """Who and what an act is about."""

    def __init__(
        self, world: World, process: Process, user: str, chance: Callable[[], random.Random]
    ) -> None:
        self.world = world
        self.process = process
        self.user = user
        self._chance = chance

    @cached_property
    def chance(self) -> random.Random:
        """What decides the details: most acts have none, and a generator takes its time to seed."""
        return self._chance()

    def begin(self, what: str, make: Making, pair: Pair | None = None) -> Call | None:
        """A call in the process, if it is up."""
        if not self.process.up:
            return None
        return self.process.begin(what, self.user, make, pair)

    def published(self) -> list[Pair]:
        """The user's pairs that may come back from a file, the newest last."""
        mine = [pair for pair in self.world.books.pairs if pair.user == self.user]
        return [pair for pair in mine if pair.published and self.is_recent(pair)]

    def is_recent(self, pair: Pair) -> bool:
        """Whether a vault has to know that it is spent, if it is."""
        return not pair.place or len(self.world.books.heirs(pair)) < REMEMBERED


def helix_call(process: Process, user: str) -> Coroutine[Any, Any, object]:
    """A Helix call in the name of a user."""
    return process.helix.call(user, "GET", RESOURCE)


def _act(weight: float) -> Callable[[Callable[[Scene], None]], Callable[[Scene], None]]:
    """What the function does is an act, named as the function is."""

    def register(does: Callable[[Scene], None]) -> Callable[[Scene], None]:
        what = does.__name__.strip("_").replace("_", " ")
        ACTS[what], WEIGHTS[what] = does, weight
        return does

    return register


@_act(30)
def _call(scene: Scene) -> None:
    scene.begin("helix", lambda: helix_call(scene.process, scene.user))


@_act(14)
def _burst(scene: Scene) -> None:
    world, chance = scene.world, scene.chance
    if chance.random() < 0.7:
        _expire(scene)
    spread = chance.choice((0.0, 0.0, 0.05, 0.5, scene.process.ttl, 2.5 * scene.process.ttl))
    for process in world.processes:
        for _ in range(chance.randint(0, 2)):
            other = Scene(world, process, scene.user, lambda: chance)
            world.loop.at(spread * chance.random(), _call, other)


@_act(6)
def _expire(scene: Scene) -> None:
    _end_access(scene, expire=True)


@_act(4)
def _kill(scene: Scene) -> None:
    _end_access(scene, expire=False)


def _end_access(scene: Scene, *, expire: bool) -> None:
    world = scene.world
    mine = [pair for pair in world.books.pairs if pair.user == scene.user]
    for pair in mine:
        if world.twitch.takes(pair.access):
            world.twitch.kill(pair.access, expire=expire)
            world.note("Twitch", "expires" if expire else "kills", pair.access)


@_act(8)
def _add(scene: Scene) -> None:
    pairs = scene.published()
    if not pairs:
        return
    pair = scene.chance.choice((pairs[0], pairs[-1], scene.chance.choice(pairs)))
    how = scene.chance.choice(("add_user", "add_token"))
    others = [user for user in scene.world.users if user != pair.user]
    if others and how == "add_token" and scene.chance.random() < MISTAKES:
        _mistake(scene, pair, scene.chance.choice(others))
    else:
        _bring(scene, pair, how)


def _mistake(scene: Scene, pair: Pair, other: str) -> None:
    """A user's pair is brought as somebody else's."""
    world, process = scene.world, scene.process

    async def add_token() -> None:
        if scene.is_recent(pair):
            world.books.mixed_up |= dict.fromkeys((pair.user, other), world.loop.now)
            process.vault.add_token(other, TokenPair(pair.access, pair.refresh))
            world.books.gave(pair, process.host, world.loop.now)

    scene.begin(f"add_token for {other}", add_token)


@_act(5)
def _login(scene: Scene) -> None:
    pair = scene.world.twitch.consent(scene.user, expired=scene.chance.random() < 0.3)
    scene.world.note("Twitch", "the user signs in", pair)
    _bring(scene, pair, scene.chance.choice(("add_user", "add_token")))


@_act(3)
def _ensure(scene: Scene) -> None:
    delay = scene.chance.choice((0.0, 0.3, 1.0, 4.0, 20.0))
    scene.begin("ensure_user", lambda: sign_in(scene, delay))


def _bring(scene: Scene, pair: Pair, how: str) -> None:
    async def login() -> None:
        # The process may have stood still since this was planned.
        if scene.is_recent(pair):
            await scene.process.login(how, pair)

    scene.begin(how, scene.world.decide(scene.process, pair.user, pair, login, how), pair)


@_act(6)
def _refresh(scene: Scene) -> None:
    scene.begin("refresh()", lambda: scene.process.vault.refresh(scene.user))


@_act(4)
def _renew(scene: Scene) -> None:
    pairs = scene.published()
    shown = scene.process.vault.mirror.tokens.get(scene.user)
    tokens = [pair.access for pair in pairs[-2:]] + ["access-unknown"]
    refused = scene.chance.choice(tokens if shown is None else [shown[0], shown[0], *tokens])
    scene.begin("renew", lambda: scene.process.vault.renew_refused(scene.user, refused))


@_act(6)
def _refresh_token(scene: Scene) -> None:
    chance, pairs = scene.chance, scene.published()
    if chance.random() < 0.3:
        pair = scene.world.twitch.consent(scene.user)
        scene.world.note("Twitch", "the user signs in", pair)
        _bring(scene, pair, chance.choice(("refresh_token", "both")))
        return
    if chance.random() < 0.1 or not pairs:
        scene.begin("refresh_token", lambda: scene.process.vault.refresh_token("refresh-unknown"))
        return
    _bring(scene, chance.choice((pairs[-1], chance.choice(pairs))), "refresh_token")


@_act(2)
def _validate(scene: Scene) -> None:
    pairs = scene.published()
    if pairs:
        token = scene.chance.choice(pairs[-2:]).access
        scene.begin("validate_token", lambda: scene.process.vault.validate_token(token))


@_act(2)
def _revoke(scene: Scene) -> None:
    pairs = scene.published()
    if pairs:
        token = scene.chance.choice(pairs[-2:]).access
        make = scene.world.decide(
            scene.process, scene.user, None, lambda: scene.process.vault.revoke_token(token)
        )
        scene.begin("revoke_token", make)


@_act(3)
def _remove(scene: Scene) -> None:
    async def remove() -> None:
        scene.process.vault.remove(scene.user)

    scene.begin("remove", scene.world.decide(scene.process, scene.user, None, remove))


@_act(1)
def _disconnect(scene: Scene) -> None:
    scene.world.note("Twitch", "the user disconnects", scene.user)
    scene.world.twitch.disconnect(scene.user)


@_act(1)
def _outside(scene: Scene) -> None:
    pairs = scene.published()
    if pairs:
        scene.world.twitch.exchange_outside(pairs[-1])


@_act(3)
def _cancel(scene: Scene) -> None:
    running = [
        call
        for call in scene.world.calls
        if call.ended is None and call.task is not None and call.process is scene.process
    ]
    if running and scene.process.alive:
        call = scene.chance.choice(running)
        assert call.task is not None
        scene.world.note(call.host.name, f"cancels {call.what}", call.user)
        scene.world.loop.post(call.host, 0, call.task.cancel)


@_act(2)
def _close(scene: Scene) -> None:
    process, pause = scene.process, scene.chance.random() * scene.process.ttl
    if process.up:
        process.up = False
        process.spawn(scene.world.reopen(process, pause))


@_act(1)
def _clear(scene: Scene) -> None:
    process, pause = scene.process, scene.chance.choice((0.0, 0.01, scene.process.ttl / 2))
    if process.up:
        process.up = False
        process.spawn(scene.world.clear_and_open(process, pause))


@_act(1)
def _app_token(scene: Scene) -> None:
    scene.begin("ensure_app_token", scene.process.vault.ensure_app_token)


@_act(4)
def _crash(scene: Scene) -> None:
    process = scene.process
    process.crash()
    if scene.chance.random() < 0.8:
        seeds = scene.chance.random() < 0.5
        delay = scene.chance.choice((0.0, 0.1, 1.0, process.ttl, 2 * process.ttl))
        scene.world.loop.at(delay, lambda: process.restart(seeds=seeds))


@_act(4)
def _stop(scene: Scene) -> None:
    scene.process.stop(scene.process.weather.away())


@_act(2)
def _suspend(scene: Scene) -> None:
    scene.process.stop(scene.process.weather.away(), suspended=True)


@_act(2)
def _jump(scene: Scene) -> None:
    hours = scene.chance.choice((0.01, 1.0, 5.0, 100.0)) * scene.chance.choice((-1, 1))
    scene.process.jump(hours * 3_600)


@_act(1)
def _outage(scene: Scene) -> None:
    scene.world.outage(scene.process.weather.away())


@_act(1.5)
def _cut(scene: Scene) -> None:
    scene.world.cut(scene.process, scene.process.weather.away())


@_act(2)
def _lose(scene: Scene) -> None:
    world, chance = scene.world, scene.chance
    if world.profile.store == "redis" and len(world.books.losses) < LOSSES:
        world.lose(chance)
        if chance.random() < 0.2:  # somebody signs in who was lost
            other = Scene(world, chance.choice(world.processes), scene.user, lambda: chance)
            world.loop.at(chance.random(), _unless_calm, "login", other)


@_act(0.5)
def _disaster(scene: Scene) -> None:
    """The store loses data, all processes but one start anew, and the user signs in meanwhile."""
    world, process, chance = scene.world, scene.process, scene.chance
    if world.profile.store != "redis":
        return
    process.stop(process.weather.away())
    world.lose(chance)
    for other in world.processes:
        if other is not process:
            other.crash()
            other.restart(seeds=chance.random() < 0.5)
            login = Scene(world, other, scene.user, lambda: chance)
            world.loop.at(2 * chance.random(), _unless_calm, "login", login)


@_act(6)
def _trap(scene: Scene) -> None:
    chance, what = scene.chance, scene.chance.choice(("crash", "stop", "stop", "suspend", "lose"))
    step = int(2 ** (chance.random() * 8)) + 1
    scene.process.trap(step, lambda: ACTS[what](scene))


def disturb(world: World, process: Process, place: str, user: str) -> None:
    """What the weather does to a process at a moment that matters, a few steps later."""
    what = process.weather.pick(place)
    if what is None:
        return
    chance = process.weather.chance
    scene = Scene(world, process, user, lambda: chance)
    world.loop.post(process.host, chance.randrange(6), _unless_calm, what, scene)
    if what in {"stop", "suspend"}:
        # What it was doing, others want as well.
        for other in world.processes:
            if other is not process:
                scene = Scene(world, other, user, lambda: chance)
                after = chance.random() * process.ttl
                world.loop.at(after, _unless_calm, chance.choice(("call", "add")), scene)


def _unless_calm(what: str, scene: Scene) -> None:
    if not scene.world.muted.calm:
        ACTS[what](scene)
