"""Every reachable state of the seed protocol (`twitchvault.vault.refresh.Refresher.redeem`).

A refresh token from outside, pair 0, is leased on its fingerprint's own key, its successor parked
there, moved to its user, and the key cleared. Two kinds of process want it: a "user" renews a
record that holds it, an "adder" has it without knowing whose it is. The adversary crashes a process
at any step, stops it past its time to send, loses an answer after the commit, and adds the pair
under its user's id at any moment.

The lease on a user's own record is the same protocol without the parking.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Entry(NamedTuple):
    """What the store holds under one key; `lease` is the owner's number, 0 for none."""

    version: int
    pair: int
    lease: int = 0


class Process(NamedTuple):
    """One process: its next step, the version it has read, the pair it got."""

    kind: str
    step: str = "start"
    version: int = 0
    pair: int = 0
    late: bool = False
    doubts: bool = False


class State(NamedTuple):
    """Everything: the user's record, the seed's key, Twitch, the processes, the adversary."""

    record: Entry | None
    seed: Entry | None
    live: int
    spent: bool
    processes: tuple[Process, ...]
    replays: int
    excuse: bool
    cut: bool
    version: int
    crashes: int
    losses: int
    stops: int


SENDING: Final = frozenset({"send", "answer"})
STOPPABLE: Final = frozenset({"obsolete", "check", "send", "answer"})
WITHOUT_REQUEST: Final = frozenset(
    {"dead", "done", "start", "ensure", "settle", "take", "adopt", "clear"}
)


class Model:
    """The transitions; `looks_elsewhere=False` leaves a step of the protocol out."""

    def __init__(self, *, looks_elsewhere: bool = True) -> None:
        self._looks_elsewhere = looks_elsewhere
        self._steps: dict[str, Callable[[State, int, Process], Iterator[State]]] = {
            "start": self._start,
            "ensure": self._ensure,
            "settle": self._settle,
            "take": self._take,
            "obsolete": self._obsolete,
            "recheck": self._recheck,
            "check": self._check,
            "send": self._send,
            "answer": self._answer,
            "adopt": self._adopt,
            "clear": self._clear,
        }

    def moves(self, state: State) -> Iterator[State]:
        """All states that can follow."""
        for number, process in enumerate(state.processes):
            if process.step not in {"done", "dead"}:
                yield from self._adversary(state, number, process)
                yield from self._steps[process.step](state, number, process)
        wants = any(process.kind == "user" for process in state.processes)
        if state.record is None and wants and not state.replays:
            yield _bump(state, record=Entry(state.version + 1, 0))

    def _adversary(self, state: State, number: int, process: Process) -> Iterator[State]:
        excuse = state.excuse or process.step in SENDING
        if state.crashes and process.step != "start":
            crashed = state._replace(crashes=state.crashes - 1, excuse=excuse)
            yield _put(crashed, number, Process(process.kind, "dead"))
        if state.stops and not process.late and process.step in STOPPABLE:
            stopped = state._replace(stops=state.stops - 1, excuse=excuse)
            yield _put(stopped, number, process._replace(late=True))

    def _start(self, state: State, number: int, process: Process) -> Iterator[State]:
        record, kind = state.record, process.kind
        if (kind == "user" and record is None) or (record is not None and record.pair):
            yield _put(state, number, Process(kind, "done"))
        elif kind == "adder" and record is not None:
            yield _put(state, number, Process("user"))
        else:
            yield _put(state, number, Process(kind, "ensure"))

    def _ensure(self, state: State, number: int, process: Process) -> Iterator[State]:
        after = Process(process.kind, "settle")
        if state.seed is None:
            yield _put(_bump(state, seed=Entry(state.version + 1, 0)), number, after)
        else:
            yield _put(state, number, after)

    def _settle(self, state: State, number: int, process: Process) -> Iterator[State]:
        seed, kind = state.seed, process.kind
        if seed is None:
            yield _put(state, number, Process(kind))
        elif seed.pair:
            yield _put(state, number, Process(kind, "adopt", pair=seed.pair))
        elif not seed.lease:
            yield _put(state, number, Process(kind, "take", seed.version))
        else:
            owner = state.processes[seed.lease - 1]
            if owner.step in WITHOUT_REQUEST or owner.late:  # it stood still for lease_ttl
                yield _put(state, number, Process(kind, "take", seed.version, doubts=True))

    def _take(self, state: State, number: int, process: Process) -> Iterator[State]:
        if state.seed is None or state.seed.version != process.version:
            yield _put(state, number, Process(process.kind, "settle"))
            return
        taken = _bump(state, seed=Entry(state.version + 1, 0, number + 1))
        yield _put(taken, number, process._replace(step="obsolete", version=taken.version))

    def _obsolete(self, state: State, number: int, process: Process) -> Iterator[State]:
        record = state.record
        if process.kind == "user":
            elsewhere = record is None or record.pair > 0
        else:
            elsewhere = record is not None
        if not (elsewhere and self._looks_elsewhere):
            step = "recheck" if process.doubts else "check"
            yield _put(state, number, process._replace(step=step))
        elif state.seed is not None and state.seed.version == process.version:
            yield _put(_bump(state, seed=None), number, Process(process.kind))
        else:
            yield _put(state, number, Process(process.kind))

    def _recheck(self, state: State, number: int, process: Process) -> Iterator[State]:
        ours = state.seed is not None and state.seed.version == process.version
        after = process._replace(step="check") if ours else Process(process.kind, "settle")
        yield _put(state, number, after)

    def _check(self, state: State, number: int, process: Process) -> Iterator[State]:
        late = Process(process.kind, "settle")
        yield _put(state, number, late if process.late else process._replace(step="send"))

    def _send(self, state: State, number: int, process: Process) -> Iterator[State]:
        done = Process(process.kind, "done")
        if state.spent:
            yield _put(state._replace(replays=state.replays + 1, cut=True), number, done)
        elif state.cut:
            yield _put(state, number, done)
        else:
            pair = state.live + 1
            committed = state._replace(live=pair, spent=True)
            yield _put(committed, number, process._replace(step="answer", pair=pair))
            if state.losses:
                lost = committed._replace(losses=state.losses - 1, excuse=True)
                yield _put(lost, number, process._replace(step="recheck", doubts=True))

    def _answer(self, state: State, number: int, process: Process) -> Iterator[State]:
        if state.seed is None or state.seed.pair:
            yield _put(state, number, Process(process.kind))
            return
        parked = _bump(state, seed=Entry(state.version + 1, process.pair))
        yield _put(parked, number, Process(process.kind, "adopt", pair=process.pair))

    def _adopt(self, state: State, number: int, process: Process) -> Iterator[State]:
        record = state.record
        after = process._replace(step="clear")
        holds_it = record is not None and record.pair == 0
        if holds_it or (record is None and process.kind == "adder"):
            moved = _bump(state, record=Entry(state.version + 1, process.pair))
            yield _put(moved, number, after)
        else:
            yield _put(state, number, after)

    def _clear(self, state: State, number: int, process: Process) -> Iterator[State]:
        done = Process(process.kind, "done")
        if state.seed is not None and state.seed.pair:
            yield _put(_bump(state, seed=None), number, done)
        else:
            yield _put(state, number, done)


def _put(state: State, number: int, process: Process) -> State:
    before = state.processes
    return state._replace(processes=(*before[:number], process, *before[number + 1 :]))


def _bump(state: State, **changes: Entry | None) -> State:
    return state._replace(version=state.version + 1, **changes)  # type: ignore[arg-type]


def explore(model: Model, kinds: tuple[str, ...], *, known: bool) -> tuple[int, str | None]:
    """(number of states, the first violation or None); `known`: a record holds the seed at first.

    Violations: a replay without an excuse (an answer lost, an owner that crashed or was stopped
    with its request out); at rest without excuse, Twitch's live pair in neither place; a process
    that cannot go on.
    """
    record = Entry(1, 0) if known else None
    processes = tuple(Process(kind) for kind in kinds)
    first = State(record, None, 0, False, processes, 0, False, False, 1, 1, 1, 1)
    seen, todo = {first}, deque([first])
    while todo:
        state = todo.popleft()
        following = list(model.moves(state))
        if state.replays and not state.excuse:
            return len(seen), f"replay: {state}"
        if not following and not state.excuse and (trouble := _at_rest(state)):
            return len(seen), f"{trouble}: {state}"
        fresh = [after for after in following if after not in seen]
        seen.update(fresh)
        todo.extend(dict.fromkeys(fresh))
    return len(seen), None


def _at_rest(state: State) -> str | None:
    if any(process.step not in {"done", "dead"} for process in state.processes):
        return "stuck"
    homes = {entry.pair for entry in (state.record, state.seed) if entry is not None}
    return "lost" if state.live and state.live not in homes else None
