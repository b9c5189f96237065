"""What the vault does, in numbers: for `App(on_metric=...)` and for `health()`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from twitchvault.errors import TwitchVaultError, Unauthorized, VersionConflict, WrongType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    OnMetric: TypeAlias = Callable[["Metric"], object]

__all__ = ["Health", "Metric", "Metrics"]

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Metric(NamedTuple):
    """One measurement: what `App(on_metric=...)` is called with.

    `name` is "request", "refresh", "validation", "store_call" or "needs_login". `value` is in
    seconds, 1 for needs_login. `labels`, never a secret, a token or a user, are "method",
    "endpoint" and "status" (none: no answer) of a request, "method" and "outcome" of a store call,
    "outcome" of a refresh (ok, refused, error) and of a validation (ok, error, or a status).
    """

    name: str
    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Health:
    """How a vault is.

    `store_reachable`: the store answered within a second, after `store_seconds`, else None.
    `users`: how many, by state (live, needs_login, damaged). `oldest_validation`: seconds since the
    one that lies longest ago, None if nobody was validated. `refreshes_done`, `refreshes_failed`:
    of this process since the app was made. `last_errors`: the last one of each kind (refresh,
    validation, store_call). `changes_pending`: those of this process not in the store yet.
    """

    store_reachable: bool
    store_seconds: float | None
    users: Mapping[str, int]
    oldest_validation: float | None
    refreshes_done: int
    refreshes_failed: int
    last_errors: Mapping[str, str]
    changes_pending: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)


class Metrics:
    """Counts what `Health` says, and hands every measurement on to the user's function."""

    def __init__(self, on_metric: OnMetric | None = None) -> None:
        if on_metric is not None and not callable(on_metric):
            raise WrongType(f"'on_metric' must be a function, not {type(on_metric).__name__}")
        if inspect.iscoroutinefunction(on_metric):
            raise WrongType("'on_metric' must be a plain function, and no coroutine function")
        self._on_metric = on_metric
        self._has_failed = False
        self.refreshes_done = 0
        self.refreshes_failed = 0
        self.last_errors: dict[str, str] = {}

    def report(self, name: str, value: float, **labels: str) -> None:
        """Hand a measurement on. What the user's function raises is logged, the first time."""
        if self._on_metric is None:
            return
        try:
            self._on_metric(Metric(name, value, MappingProxyType(labels)))
        except (Exception, asyncio.CancelledError):  # no call ends by it
            if not self._has_failed:
                self._has_failed = True
                _logger.exception("on_metric failed; it is called on, but this is not logged again")

    def note_refresh(self, outcome: str, seconds: float) -> None:
        """An exchange has ended: ok, refused or error."""
        if outcome == "ok":
            self.refreshes_done += 1
        else:
            self.refreshes_failed += 1
        self.report("refresh", seconds, outcome=outcome)

    def note_error(self, name: str, error: BaseException) -> None:
        """Something has failed, for whoever asks for the last error of its kind."""
        if isinstance(error, TwitchVaultError):
            self.last_errors[name] = str(error)

    async def timed(self, name: str, work: Awaitable[T], **labels: str) -> T:
        """What `work` comes to; how long it took and how it ended is reported."""
        began, outcome = time.perf_counter(), "ok"
        try:
            return await work
        except VersionConflict:  # an answer like any other, as a 401 is
            outcome = "conflict"
            raise
        except BaseException as error:
            outcome = str(getattr(error, "status", "error"))
            if not isinstance(error, Unauthorized):
                self.note_error(name, error)
            raise
        finally:
            self.report(name, time.perf_counter() - began, outcome=outcome, **labels)
