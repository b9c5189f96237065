"""What the world itself knows of tokens: who got which pair, from whom, and what became of it.

The vault never sees any of this. The checks judge it by these books alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING

import msgspec

from tests.simulation.facts import NEVER, Decision, Loss, Pair, Request, Stored
from twitchvault.vault.record import fingerprint

if TYPE_CHECKING:
    from tests.simulation.host import Host

__all__ = ["Books"]

_decode = msgspec.json.Decoder(Stored).decode


@dataclass(eq=False)
class Books:
    """All pairs, requests, decisions and losses of a run."""

    pairs: list[Pair] = field(default_factory=list)
    of_refresh: dict[str, Pair] = field(default_factory=dict)
    """The newest pair with this refresh token."""
    first_of: dict[str, Pair] = field(default_factory=dict)
    """The first one."""
    of_access: dict[str, Pair] = field(default_factory=dict)
    of_both: dict[tuple[str, str], Pair] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    accepted: dict[tuple[Host, str], list[float]] = field(default_factory=dict)
    """When Twitch told a process that it takes this access token."""
    validated: dict[tuple[Host, str], float] = field(default_factory=dict)
    """When it was told so last by a validation, which says for how long it lives."""
    refused: dict[tuple[Host, str], list[float]] = field(default_factory=dict)
    validated_dead: dict[tuple[Host, str], list[float]] = field(default_factory=dict)
    records_seen: list[tuple[Host, float, bytes]] = field(default_factory=list)
    writes: list[tuple[Host, str | None, float]] = field(default_factory=list)
    """Who has written to which user's key, and when."""
    first_stored: dict[bytes, float] = field(default_factory=dict)
    jumps: dict[Host, list[float]] = field(default_factory=dict)
    """When wall clocks were set: for all that a process knows, that much time has passed."""
    misplaced: set[str] = field(default_factory=set)
    """Users of whom a pair was stored under another's id."""
    refused_falsely: set[str] = field(default_factory=set)
    """Refresh tokens that Twitch refused though it takes them."""
    lied: dict[str, float] = field(default_factory=dict)
    """Access tokens that Twitch called dead though they lived."""
    condemned: dict[str, Host] = field(default_factory=dict)
    """Who first wrote that the user of a refresh token has to sign in."""
    killed: dict[str, float] = field(default_factory=dict)
    """Access tokens that died by something else than their refresh, and when."""
    leases_seen: dict[tuple[Host, str], float] = field(default_factory=dict)
    """When the store first told a process of a user's lease, by the lease's name."""
    leased: dict[str, dict[tuple[Host, str], tuple[float, str]]] = field(default_factory=dict)
    """The leases on each refresh token, since when, and the access token beside it."""
    lease_puts: list[tuple[float, Host, str]] = field(default_factory=list)
    """When somebody put a lease, anew too, and on which refresh token."""
    died: dict[Host, float] = field(default_factory=dict)
    outages: dict[Host, list[tuple[float, float]]] = field(default_factory=dict)
    """When a process stood still or could not reach the store."""
    no_gaps: set[tuple[Host, float]] = field(default_factory=set)
    """Outages by their beginning in which a job that waits misses nothing.

    No time passes for a process that is suspended, and a cleared one's jobs go on.
    """
    stalls: dict[Host, list[tuple[float, float]]] = field(default_factory=dict)
    """When a store call of it took its time."""
    lags: dict[Host, list[tuple[float, float]]] = field(default_factory=dict)
    """When news for its feed were held up."""
    cleared: dict[Host, float] = field(default_factory=dict)
    """When it was cleared last."""
    closures: list[tuple[Host, float, float]] = field(default_factory=list)
    """Who was closed for a while, and when."""
    closed: dict[Host, float] = field(default_factory=dict)
    """Since when its vault is closed."""
    mixed_up: dict[str, float] = field(default_factory=dict)
    """Users of whom somebody has brought a pair as another's, or in whose name one came; when."""
    _chains: int = 0
    _read: dict[bytes, Stored] = field(default_factory=dict)

    def stored(self, value: bytes) -> Stored:
        """The record in these bytes."""
        found = self._read.get(value)
        if found is None:
            found = self._read[value] = _decode(value)
        return found

    # Twitch

    def request(self, host: Host, endpoint: str, token: str) -> Request:
        """A process is about to send this."""
        request = Request(len(self.requests) + 1, host, endpoint, token)
        self.requests.append(request)
        return request

    def login(self, user: str, access: str, refresh: str, now: float) -> Pair:
        """The user has consented."""
        self._chains += 1
        pair = Pair(user, self._chains, 0, access, refresh, now, published=True)
        return self._add(pair)

    def exchanged(
        self, old: Pair, access: str, refresh: str, by: Request | None, now: float
    ) -> Pair:
        """Twitch has committed an exchange; `by` None: of somebody outside."""
        pair = Pair(old.user, old.chain, old.place + 1, access, refresh, now, by)
        old.spent_by = by
        if by is not None:
            by.pair = pair
        return self._add(pair)

    def _add(self, pair: Pair) -> Pair:
        self.pairs.append(pair)
        self.of_refresh[pair.refresh] = pair
        self.first_of.setdefault(pair.refresh, pair)
        return self.reached_by(pair, pair.access)

    def reached_by(self, pair: Pair, access: str) -> Pair:
        """This access token stands for the pair from now on."""
        pair.access = access
        self.of_access[access] = self.of_both[access, pair.refresh] = pair
        return pair

    def answered(self, request: Request, now: float) -> None:
        """The process has the answer."""
        request.answered_at = now
        if request.pair is not None:
            self.gave(request.pair, request.host, now)

    def gave(self, pair: Pair, host: Host, now: float) -> None:
        """A process got this pair from Twitch or from its user."""
        pair.received.setdefault(host, now)
        pair.holders.setdefault(host, now)

    def died_access(self, access: str, now: float) -> None:
        """An access token is dead."""
        if pair := self.of_access.get(access):
            pair.dead_at = min(pair.dead_at, now)

    # The store

    def pair_in(self, value: bytes | None) -> Pair | None:
        """The pair that a stored record holds."""
        if value is None:
            return None
        record = self.stored(value)
        access, refresh = record.access_token, record.refresh_token or ""
        both = self.of_both.get((access, refresh))
        return both or self.first_of.get(refresh) or self.of_access.get(access)

    def showed(
        self, host: Host, user: str, value: bytes | None, now: float, *, taken_in: bool
    ) -> None:
        """A process was told by the store what stands under a user's key."""
        pair = self.pair_in(value)
        if pair is not None and taken_in:
            pair.holders.setdefault(host, now)
        if value is not None and taken_in:
            self.records_seen.append((host, now, value))
            self.leases_seen.setdefault((host, self.stored(value).lease or ""), now)
        chain = self._chain_in(value)
        for decision in self._made_by(host, user):
            if decision.chain == chain and decision.written_at < NEVER:
                decision.told_at = min(decision.told_at, now)

    def _chain_in(self, value: bytes | None) -> int:
        """The login that stands in a stored record; 0 if the user is not there."""
        pair = self.pair_in(value)
        gone = value is None or self.stored(value).state == "removed"
        return 0 if gone or pair is None else pair.chain

    def _made_by(self, host: Host, user: str | None) -> list[Decision]:
        return [one for one in self.decisions if one.host is host and one.user == user]

    def committed(self, host: Host, user: str | None, value: bytes | None, now: float) -> None:
        """The store took a write of a process to a user's key."""
        self.writes.append((host, user, now))
        pair = self.pair_in(value)
        chain = self._chain_in(value)
        lease = None if value is None else self.stored(value).lease
        if pair is not None and lease is not None:
            self.lease_puts.append((now, host, pair.refresh))
            leases = self.leased.setdefault(pair.refresh, {})
            leases.setdefault((host, lease), (now, self.stored(value or b"").access_token))
        if pair is not None and value is not None and self.stored(value).refresh_token:
            pair.published = pair.published or user is not None
            if user is not None or (pair.by is not None and pair.by.host is host):
                # Else it came from outside, and the store does not know what it followed.
                pair.stored_at = min(pair.stored_at, now)
        if pair is not None and value is not None and self.stored(value).state == "needs_login":
            self.condemned.setdefault(pair.refresh, host)
        if pair is not None and user not in {None, pair.user}:
            self.misplaced.add(pair.user)
        # What stood before a decision was made and is written back does not carry it out.
        first = NEVER if value is None else self.first_stored.setdefault(value, now)
        made = (one for one in self._made_by(host, user) if one.since <= first)
        waiting = (one for one in made if one.written_at == NEVER)
        # They are carried out in order: another one in between is not over yet.
        for decision in takewhile(
            lambda one: one.chain == chain, dropwhile(lambda one: one.chain != chain, waiting)
        ):
            decision.written_at = now

    def knew_spent(self, host: Host, old: Pair, before: float) -> bool:
        """Whether a process could know by then that this refresh token had been exchanged.

        By an answer to itself, or by a record that remembers it.
        """
        mark = fingerprint(old.refresh)
        return any(
            pair.by is not None
            and pair.by.token == old.refresh
            and pair.by.host is host
            and pair.by.answered_at >= self.cleared.get(host, 0.0)
            and pair.holders.get(host, NEVER) < before
            for pair in self.pairs
        ) or any(
            one is host and at < before and self.stored(value).has_spent(mark)
            for one, at, value in self.records_seen
        )

    def forgot(self, host: Host, now: float) -> None:
        """A process has cleared what it knew."""
        self.cleared[host] = now
        for pair in self.pairs:
            pair.holders.pop(host, None)
        self.records_seen = [one for one in self.records_seen if one[0] is not host]
        self.leases_seen = {key: at for key, at in self.leases_seen.items() if key[0] is not host}

    # Processes

    def disturbed(self, host: Host, since: float, until: float) -> float:
        """For how many seconds between the two a process stood still or was cut off."""
        times = [*self.outages.get(host, ()), *self.stalls.get(host, ())]
        if host in self.closed:
            times.append((self.closed[host], NEVER))
        return _covered(times, since, until)

    def longest_look(self, host: Host, since: float, until: float, gap: float) -> float:
        """The longest time between the two without such a `gap`: standing still or cut off."""
        longest, begun = 0.0, since
        for start, end in sorted(self.outages.get(host, ())):
            if (host, start) in self.no_gaps:
                continue
            if end - start > gap and end > begun and start < until:
                longest, begun = max(longest, start - begun), end
        return max(longest, until - begun)

    def unheard(self, host: Host, since: float, until: float) -> float:
        """For how many seconds between the two its feed could bring it nothing."""
        return _covered(self.lags.get(host, []), since, until)

    def upset(self, host: Host, since: float, until: float) -> None:
        """A process stands still or is cut off for this time."""
        self.outages.setdefault(host, []).append((since, until))

    def stall(self, host: Host, since: float, until: float) -> None:
        """A store call of a process takes so long."""
        self.stalls.setdefault(host, []).append((since, until))

    def lag(self, host: Host, since: float, until: float) -> None:
        """What the store tells a process takes so long."""
        self.lags.setdefault(host, []).append((since, until))

    def die(self, host: Host, now: float) -> None:
        """A process is dead: it writes nothing any more."""
        self.died[host] = now
        for decision in self.decisions:
            if decision.host is host and decision.written_at < NEVER:
                decision.told_at = min(decision.told_at, now)

    def was_open(self, host: Host, at: float) -> bool:
        """Whether the vault of a process was not closed for a while then."""
        return not any(one is host and since <= at <= until for one, since, until in self.closures)

    def opened(self, host: Host, now: float) -> None:
        """A vault is open (again)."""
        if host in self.closed:
            since = self.closed.pop(host)
            self.upset(host, since, now)
            self.closures.append((host, since, now))

    def calm_down(self, now: float) -> None:
        """All outages end now, whatever was planned."""
        for host, times in self.outages.items():
            self.outages[host] = [(start, min(end, now)) for start, end in times]

    def is_known(self, pair: Pair) -> bool:
        """Whether one of the processes has exchanged it, or was told that it is dead.

        What somebody outside did with it no vault can know.
        """
        exchanged = any(heir.by is not None and heir.received for heir in self.heirs(pair))
        return exchanged or any(
            one.token == pair.refresh and one.pair is None and one.answered_at < NEVER
            for one in self.requests
        )

    def may_be_either(self, pair: Pair, *, lives: bool) -> bool:
        """Whether it may be old news or a login: one of its tokens lives on.

        So do a confidential client's, and an access token that Twitch gives once more.
        """
        heirs = self.heirs(pair)
        same = any(heir.refresh == pair.refresh or heir.access == pair.access for heir in heirs)
        return same or (lives and (bool(heirs) or pair.refresh in self.refused_falsely))

    def was_joined(self, pair: Pair) -> bool:
        """Whether another login or a removal was asked for besides the login of this pair."""
        return any(one.chain != pair.chain for one in self.decisions_on(pair.user))

    def was_overruled(self, pair: Pair) -> bool:
        """Whether another login or a removal came after the login of this pair was brought."""
        chains = [one.chain for one in self.decisions_on(pair.user)]
        return pair.chain in chains and set(chains[chains.index(pair.chain) :]) != {pair.chain}

    def name_of_lease(self, request: Request) -> str:
        """The name of the lease under which a request left."""
        leases = self.leased.get(request.token, {})
        mine = [(at, name) for (host, name), (at, _) in leases.items() if host is request.host]
        return max((one for one in mine if one[0] <= request.left_at), default=(0.0, ""))[1]

    def lease_of(self, request: Request) -> tuple[float, str]:
        """When the lease was taken under which a request left, and the access token beside it."""
        leases = self.leased.get(request.token, {})
        mine = [found for (host, _), found in leases.items() if host is request.host]
        until = request.left_at
        return max((found for found in mine if found[0] <= until), default=(until, ""))

    def over_at(self, decision: Decision) -> float:
        """From when on nothing of a decision is under way any more.

        If the store loses data before its process has the answer, it has to be looked at again. And
        the exchange of a seed goes on when its caller has given up.
        """
        calls = self.stalls.get(decision.host, ())
        answered = max((end for at, end in calls if at <= decision.written_at <= end), default=0.0)
        lost = any(
            decision.written_at <= loss.at <= answered and loss.concerns(decision.user)
            for loss in self.losses
        )
        until = max([decision.until, *self._exchanged_for(decision)])
        return max(until, answered) if lost else until

    def _exchanged_for(self, decision: Decision) -> list[float]:
        """When the store had what its process got for a seed of the login."""
        return [
            pair.stored_at
            for pair in self.pairs
            if pair.chain == decision.chain
            and pair.by is not None
            and pair.by.host is decision.host
            and (decision.host, None, self.lease_of(pair.by)[0]) in self.writes
        ]

    def decisions_on(self, user: str) -> list[Decision]:
        """All logins and removals of a user."""
        return [one for one in self.decisions if one.user == user]

    def removed(self, user: str) -> list[float]:
        """When removals of a user stood in the store."""
        return [one.written_at for one in self.decisions_on(user) if not one.chain]

    def heirs(self, pair: Pair) -> list[Pair]:
        """Those that descend from a pair: who knows one of them knows that the pair is spent."""
        return [p for p in self.pairs if p.chain == pair.chain and p.place > pair.place]


def _covered(times: list[tuple[float, float]], since: float, until: float) -> float:
    """How many of the seconds between the two lie in these times, which may overlap."""
    total, reached = 0.0, since
    for start, end in sorted(times):
        start, end = max(start, reached), min(end, until)  # noqa: PLW2901
        if end > start:
            total, reached = total + end - start, end
    return total
