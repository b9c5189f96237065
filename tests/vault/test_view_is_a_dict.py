"""A view answers every question as a dict would."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from twitchvault.vault.backlog import Backlog
from twitchvault.vault.events import Events
from twitchvault.vault.mirror import Mirror
from twitchvault.vault.record import TokenPair
from twitchvault.vault.views import LiveView, View, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable

    Shown = MappingProxyType[str, TokenPair]


def backlog() -> Backlog:
    """One in which nothing waits."""
    return Backlog(Mirror("client", Events()))


PAIRS = {
    "1": TokenPair("access", "refresh"),
    "2": TokenPair("access", None),
    "3": TokenPair("two\nlines", "refresh"),
    "4": TokenPair("access", "two\nlines"),
    "5": TokenPair("two\nlines", None),
}
READS: dict[str, Callable[[Shown], object]] = {
    "one": lambda view: view["1"],
    "twice": lambda view: (view["2"], view["2"]),
    "all": lambda view: [view[key] for key in PAIRS],
    "get": lambda view: (view.get("3"), view.get("9"), view.get("9", 0)),
    "in": lambda view: ("4" in view, "9" in view),
    "len": len,
    "bool": bool,
    "iter": list,
    "reversed": lambda view: list(reversed(view)),
    "keys": lambda view: list(view.keys()),
    "values": lambda view: list(view.values()),
    "items": lambda view: list(view.items()),
    "copy": lambda view: view.copy(),
    "dict": dict,
    "stars": lambda view: {**view},
    "or": lambda view: view | {"9": 0},
    "ror": lambda view: {"9": 0} | view,
    "equal": lambda view: (view == PAIRS, view != PAIRS, view == {}),
}


@pytest.mark.parametrize("kind", [View, LiveView])
@pytest.mark.parametrize("before", [None, "one", "all"])
@pytest.mark.parametrize("read", READS)
def test_reads(kind: type[View[TokenPair]], before: str | None, read: str) -> None:
    """Whatever was looked up before."""
    view = kind(lambda: None, backlog(), unpacked)
    for user_id, pair in PAIRS.items():
        view.hold({user_id: packed(*pair)})
    shown: Shown = MappingProxyType(view)
    if before is not None:
        READS[before](shown)
    assert READS[read](shown) == READS[read](MappingProxyType(PAIRS))


@pytest.mark.parametrize("kind", [View, LiveView])
def test_changes(kind: type[View[TokenPair]]) -> None:
    """What was looked up is not remembered past a change."""
    view = kind(lambda: None, backlog(), unpacked)
    for pair in PAIRS.values():
        view.hold({"1": packed(*pair)})
        assert view["1"] == pair
        assert view["1"] is view["1"]
    view.drop("1")
    with pytest.raises(KeyError, match="'1'"):
        view["1"]
    view.hold({"1": packed(*PAIRS["1"])})
    assert view.get("1") == PAIRS["1"]
    view.clear()
    assert (len(view), dict(view), view.get("1")) == (0, {}, None)
