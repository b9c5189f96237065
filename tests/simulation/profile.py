"""What a seed decides before a run begins: what the world is like, and what goes wrong how often.

A fault's rate is the chance that it meets one request, one store call or one step. Many runs have
few faults, so that a violation has few excuses; some have many, for what nobody thinks of.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["FAULTS", "Profile", "draw"]

_CONNECTION: Final = (
    "no connection", "slow connection", "request lost", "late request", "answer lost",
    "late answer",
)  # fmt: skip
_INSTEAD: Final = (
    "400 invalid client", "400 missing client secret", "400 missing refresh token",
    "400 unknown scope", "400 invalid_client", "400 HTML", "401 HTML", "401 empty",
    "401 invalid_client", "401 Unauthorized", "401 invalid access token",
    "403 invalid client secret", "404 text", "429 empty", "429 JSON", "500 JSON", "500 empty",
    "502 HTML", "503 HTML", "503 JSON", "200 HTML", "200 without tokens", "200 text",
)  # fmt: skip
_AFTERWARDS: Final = (
    "500 JSON", "500 empty", "502 HTML", "503 HTML", "503 JSON", "200 HTML", "200 cut off",
)  # fmt: skip
_LOOKS: Final = (
    "before: 429 empty", "before: 500 JSON", "before: 401 gateway", "before: 503 HTML",
    "before: 401 HTML", "before: 200 HTML", "before: 404 text",
)  # fmt: skip

FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "refresh": (
        *_CONNECTION, "ghost", "lie", "repeat alive", "repeat dead",
        *(f"before: {name}" for name in _INSTEAD), *(f"after: {name}" for name in _AFTERWARDS),
    ),
    "validate": (*_CONNECTION, "lie", *_LOOKS),
    "helix": (*_CONNECTION, "lie", *_LOOKS, "before: helix 401 scope", "before: helix 401 missing"),
    "revoke": (*_CONNECTION, "before: 500 JSON", "before: 429 empty", "after: 502 HTML"),
    "app": (
        *_CONNECTION, "before: 500 JSON", "before: 403 invalid client secret", "after: 502 HTML",
    ),
    "store": ("error before", "error after", "stall before", "stall after"),
    "feed": ("lag",),
    "committed": (
        "crash", "stop", "suspend", "lose", "outage", "remove", "login", "cancel", "close",
    ),
    "leased": ("crash", "stop", "suspend", "lose", "outage", "remove", "login", "cancel", "add"),
    "written": ("crash", "stop", "lose"),
}  # fmt: skip
"""Where something can go wrong, and what: `committed` is an exchange at Twitch, `leased` a lease in
the store, `written` a new pair in it."""
_WEIGHT: Final = {"refresh": 3.0, "committed": 2.0, "leased": 1.5, "written": 1.0, "feed": 2.0}
_MODES: Final = ("rotate", "rotate-keep", "same")
_TTLS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """One world, as its seed wants it."""

    processes: int
    users: int
    public: bool
    switches: dict[str, Any]
    rfc_refusals: bool
    """A refused grant is said in RFC 6749's words."""
    lifetime: float
    """Seconds that an access token lives."""
    ttls: tuple[float, ...]
    """Each process' `lease_ttl`."""
    maintain: bool
    store: str
    """redis: pushes, may lose data; sqlite: must be asked; plain: can only be scanned."""
    acts: int
    pace: float
    """Seconds between two acts, on average."""
    latency: float
    rates: dict[str, tuple[tuple[float, str], ...]]
    """For each place the faults, with their cumulative rates."""
    wall_off: tuple[float, ...]


def draw(seed: int) -> Profile:
    """The profile of a seed."""
    chance = random.Random(f"profile {seed}")
    processes = chance.choices((1, 2, 3, 4), (1, 6, 6, 2))[0]
    public = chance.random() < 0.65
    store = chance.choices(("redis", "sqlite", "plain"), (28, 10, 1))[0]
    # A store that is scanned each second is much work in a long run.
    ttls = _TTLS if store != "plain" else _TTLS[:2]
    ttl = chance.choice(ttls)
    others = chance.random() < 0.2
    mad = _madness(chance)
    return Profile(
        processes=processes,
        users=chance.choices((1, 2), (3, 2))[0],
        public=public,
        switches=_switches(chance, public=public),
        rfc_refusals=chance.random() < 0.2,
        lifetime=chance.choice((14_400.0, 14_400.0, 3_600.0, 300.0, 60.0)),
        ttls=tuple(chance.choice(ttls) if others else ttl for _ in range(processes)),
        maintain=chance.random() < 0.6,
        store=store,
        acts=chance.randint(8, 40),
        pace=0.3 if mad else chance.choice((0.02, 0.3, 2.0, ttl / 3, ttl)),
        latency=chance.choice((0.02, 0.1, 0.4)),
        rates={place: _rates(chance, place, store) for place in FAULTS} | mad,
        wall_off=tuple(_wall_off(chance) for _ in range(processes)),
    )


def _switches(chance: random.Random, *, public: bool) -> dict[str, Any]:
    switches: dict[str, Any] = {}
    if not public:
        switches["confidential_refresh"] = chance.choice(_MODES)
        switches["refresh_kills_access"] = chance.random() < 0.7
        switches["punish_replay"] = chance.choice((None, True))
    switches["dead_refresh_status"] = chance.choice((400, 400, 401))
    switches["scope_shape"] = chance.choice(("list", "list", "string", "blank"))
    switches["reconsent"] = chance.choice(("keep", "keep", "replace"))
    switches["omit_expires_in"] = chance.random() < 0.1
    switches["extra_keys"] = chance.random() < 0.1
    switches["token_limit"] = chance.choice((50, 50, 50, 2))
    return switches


def _rates(chance: random.Random, place: str, store: str) -> tuple[tuple[float, str], ...]:
    level = chance.choices((0.0, 0.02, 0.08, 0.25), (4, 4, 4, 1))[0] * _WEIGHT.get(place, 1.0)
    names = [name for name in FAULTS[place] if name != "lose" or store == "redis"]
    if not level or not names:
        return ()
    chosen = chance.sample(names, chance.randint(1, min(4, len(names))))
    rates, total = [], 0.0
    for name in chosen:
        total = min(total + level * chance.expovariate(1.0) / len(chosen) ** 0.5, 0.7)
        rates.append((total, name))
    return tuple(rates)


def _madness(chance: random.Random) -> dict[str, tuple[tuple[float, str], ...]]:
    """In some worlds Twitch does nearly always what it should never do."""
    if chance.random() < 0.96:
        return {}
    places = (
        ("refresh", "repeat dead"),
        ("refresh", "repeat alive"),
        ("validate", "lie"),
        ("helix", "lie"),
    )
    place, fault = chance.choice(places)
    return {place: ((0.9, fault),)}


def _wall_off(chance: random.Random) -> float:
    if chance.random() < 0.7:
        return 0.0
    return chance.choice((-1.0, 1.0)) * chance.choice((30.0, 3_600.0, 5 * 3_600.0, 3 * 86_400.0))
