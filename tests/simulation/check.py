"""What must hold when all is quiet: nothing lost, nobody sent away, nothing hangs, one picture."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tests.simulation.acts import helix_call
from tests.simulation.excuses_of_loss import lost, needs_login, replaced
from tests.simulation.facts import NEVER

if TYPE_CHECKING:
    from tests.simulation.facts import Decision, Pair, Stored
    from tests.simulation.host import Host
    from tests.simulation.process import Call, Process
    from tests.simulation.world import World

__all__ = ["check"]

BOUND_LEASES: Final = 3.0
BOUND_SECONDS: Final = 120.0
"""A public call ends within 3 times the longest `lease_ttl` and 120 s, in seconds in which its
process ran; whatever it waited for a store that stalled comes on top."""
BOUND_OF_REFRESH: Final = 30.0
"""A refresh alone: twice the longest `lease_ttl`, and seconds for a validation before."""
PROBES: Final = 12
PAUSE: Final = 60.0
CLOSING: Final = 5.0
REQUESTS: Final = 40
PER_CALL: Final = 8
"""So many requests to Twitch a run may have, and so many more for each public call."""
UNPROVEN: Final = 6
WINDOW: Final = 10.0
"""So many tokens of a login a process may get in so many seconds of which Twitch takes none: the
vault stops at three for a user, and at three for a refresh token whose user is not known."""
FURTHER_USER: Final = 3
"""And at three for another user under whose id somebody has brought it."""


def check(world: World) -> None:
    """Every check, at the end of a run."""
    _end_of_calls(world)
    _requests(world)
    _failures(world)
    records = {user: _stored(world, user) for user in world.users}
    for user in world.users:
        if user not in world.books.mixed_up:  # who uses which token then is anybody's guess
            _pairs(world, user, records[user])
            _needs_login(world, user, records[user])
    _views(world, records)
    _usable(world, records)
    _close(world)


def _stored(world: World, user: str) -> Stored | None:
    entry = world.server.entries.get(f"{world.twitch.client.client_id}:{user}")
    record = None if entry is None else world.books.stored(entry.value)
    return None if record is None or record.state == "removed" else record


# Calls


def _bound(world: World, call: Call) -> float:
    until = world.loop.now if call.ended is None else call.ended
    stalled = world.books.disturbed(call.host, call.begun, until)
    if call.what == "refresh()":
        return 2 * max(world.profile.ttls) + BOUND_OF_REFRESH + stalled
    return BOUND_LEASES * max(world.profile.ttls) + BOUND_SECONDS + stalled


def _end_of_calls(world: World) -> None:
    for call in world.calls:
        if call.host.dead:
            continue
        took = call.host.ran(world.loop.now) - call.ran if call.ended is None else call.took
        if took > _bound(world, call):
            state = "hangs" if call.ended is None else "took"
            world.violation("hung call", f"{call.what} in {call.host.name} {state} {took:.0f} s")


def _requests(world: World) -> None:
    sent = [one for one in world.books.requests if one.left_at < NEVER]
    allowed = REQUESTS + PER_CALL * len(world.calls)
    if len(sent) > allowed or world.loop.too_long():
        text = f"{len(sent)} requests to Twitch, of which {allowed} are enough"
        world.violation("too many requests", text)
    for host in dict.fromkeys(one.host for one in sent):
        for chain in dict.fromkeys(pair.chain for pair in world.books.pairs):
            if _too_often(world, host, chain):
                text = f"{host.name} gets one dead token of login {chain} after the other"
                world.violation("too many requests", text)


def _too_often(world: World, host: Host, chain: int) -> bool:
    """More tokens in a row than allowed, with nothing in between that lets the vault begin anew."""
    mine = [pair for pair in world.books.pairs if pair.chain == chain]
    user = mine[0].user
    allowed = UNPROVEN + FURTHER_USER * (user in world.books.mixed_up)
    got = sorted(pair.received[host] for pair in mine if pair.by and host in pair.received)
    again = [call.begun for call in world.calls if call.host is host and call.login == user]
    again += [at for pair in mine for at in world.books.accepted.get((host, pair.access), ())]
    return any(
        last - first < WINDOW and not any(first <= at <= last for at in again)
        for first, last in zip(got, got[allowed:], strict=False)
    )


def _failures(world: World) -> None:
    for host, context in world.loop.failures:
        error = context.get("exception")
        text = f"{context.get('message')}: {type(error).__name__}: {error}"
        world.violation("other", f"nobody caught in {host.name}: {text}")


# Pairs


def _last_decision(world: World, user: str) -> Decision | None:
    """The login or removal that no other came after or at the same time as."""
    mine = world.books.decisions_on(user)
    for one in mine:
        others = [other for other in mine if other.chain != one.chain]
        over_at = world.books.over_at
        if not others or (over_at(one) < NEVER and all(over_at(o) < one.since for o in others)):
            return one
    return None


def _pairs(world: World, user: str, record: Stored | None) -> None:
    records = _records(world, record)
    held = [
        pair for one in records if (pair := world.books.of_refresh.get(one.refresh_token or ""))
    ]
    for pair in world.books.pairs:
        newest = world.books.of_refresh.get(pair.refresh) is pair and not world.books.heirs(pair)
        if pair.user != user or not newest or not world.twitch.takes_refresh(pair.refresh):
            continue
        if any(_holds(world, one, pair) for one in records):
            continue
        last = _last_decision(world, user)
        if last is None or last.chain != pair.chain:
            continue
        if not pair.received and pair.by is None:
            continue
        reason = lost(world.books, pair, public=world.profile.public) or replaced(
            world.books, held, last
        )
        if reason is None:
            world.violation("lost pair", f"the store does not hold {pair.refresh} of {user}")
        else:
            world.unavoidable[f"lost: {reason}"] += 1


def _records(world: World, record: Stored | None) -> list[Stored]:
    """What the store holds for a user, and the pairs included whose user is not known yet."""
    seeds = [
        world.books.stored(entry.value)
        for entry in world.server.entries.values()
        if world.user_of(entry.key) is None and entry.value.startswith(b'{"schema"')
    ]
    return seeds if record is None else [record, *seeds]


def _holds(world: World, record: Stored, pair: Pair) -> bool:
    """Whether a record keeps the user of a pair signed in: with it, or with one that lives."""
    one = world.books.of_refresh.get(record.refresh_token or "")
    if one is None or one.chain != pair.chain or not world.twitch.takes_refresh(one.refresh):
        return False
    newest = record.refresh_token == pair.refresh  # whether it is told so rightly is checked, too
    return record.state == "live" or newest or world.twitch.takes(record.access_token)


def _needs_login(world: World, user: str, record: Stored | None) -> None:
    if record is None or record.state != "needs_login":
        return
    if not world.twitch.takes_refresh(record.refresh_token):
        return
    pair = world.books.of_refresh[record.refresh_token or ""]
    world.run_out(pair)
    reason = needs_login(world.books, pair, world.loop.now)
    if reason is None:
        text = f"{user} has to sign in ({record.reason}), though Twitch takes {pair.refresh}"
        world.violation("wrong needs_login", text)
    else:
        world.unavoidable[f"needs_login: {reason}"] += 1


# Views and use


def _views(world: World, records: dict[str, Stored | None]) -> None:
    wanted = {
        user: (record.access_token, record.refresh_token)
        for user, record in records.items()
        if record is not None
    }
    needing = {user for user, record in records.items() if record and record.state == "needs_login"}
    for process in world.processes:
        shown = {
            user: pair for user, pair in process.vault.mirror.tokens.items() if user in records
        }
        if shown != wanted:
            text = f"{process.name} shows {shown}, the store holds {wanted}"
            world.violation("other", text)
        if {user for user in process.vault.mirror.needs_login if user in records} != needing:
            text = f"needs_login of {process.name} is not what the store holds"
            world.violation("other", text)


def _usable(world: World, records: dict[str, Stored | None]) -> None:
    """Each process can call for each user whose stored pair is good."""
    good = [
        user
        for user, record in records.items()
        if record and _is_good(world, record) and _is_put_right(world, user)
    ]
    for user in good:
        for process in world.processes:
            if _works(world, process, user):
                continue
            record = _stored(world, user)
            if record is not None and record.state == "needs_login":
                _needs_login(world, user, record)
                break
            last = world.calls[-1]
            world.violation("other", f"{process.name} cannot call for {user}: {last.outcome}")


def _is_good(world: World, record: Stored) -> bool:
    if record.state != "live" or not world.twitch.takes_refresh(record.refresh_token):
        return False
    return record.refresh_token not in world.books.refused_falsely


def _is_put_right(world: World, user: str) -> bool:
    """Whether a login has come since a pair was brought in another's name, which is gone."""
    mixed_up, books = world.books.mixed_up, world.books
    if user not in mixed_up:
        return True
    last = _last_decision(world, user)
    if last is None or not last.chain or last.since <= max(mixed_up.values()):
        return False
    records = [(one, _stored(world, one)) for one in mixed_up]
    pairs = [
        (one, books.of_refresh.get(record.refresh_token or "")) for one, record in records if record
    ]
    return all(pair is not None and pair.user == one for one, pair in pairs)


def _works(world: World, process: Process, user: str) -> bool:
    for _ in range(PROBES):
        call = process.begin("last helix", user, partial(helix_call, process, user), None)
        world.probe(_bound(world, call))
        if call.fine or "has to sign in" in call.outcome:
            return call.fine
        # Shorter than what the last call may have brought lives.
        world.probe_pause(min(PAUSE, world.profile.lifetime / 3))
    return False


def _close(world: World) -> None:
    for process in world.processes:
        bound = CLOSING + (process.ttl if process.host in world.sending() else 0.0)
        call = process.begin("last close", "", process.vault.close, None)
        world.probe(bound)
        if call.ended is None:
            world.violation("hung call", f"close of {process.name} takes more than {bound:g} s")
        elif not call.fine:
            world.violation("other", f"close of {process.name} failed: {call.outcome}")
