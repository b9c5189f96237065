"""The seed protocol, checked state by state."""

from __future__ import annotations

import pytest

from tests.protocol_model import Model, explore


@pytest.mark.parametrize(
    ("kinds", "known"),
    [
        (("user", "user", "user"), True),
        (("user", "user", "adder"), True),
        (("user", "adder"), False),
    ],
)
def test_no_replay_and_nothing_lost(kinds: tuple[str, ...], *, known: bool) -> None:
    """Whatever the adversary does, no replay without an excuse, and no pair is lost."""
    states, violation = explore(Model(), kinds, known=known)

    assert violation is None
    assert states > 1_000


def test_the_look_elsewhere_is_needed() -> None:
    """Without looking for the pair right before sending, a cleared seed is sent again."""
    _, violation = explore(Model(looks_elsewhere=False), ("user", "user", "user"), known=True)

    assert violation is not None
    assert violation.startswith("replay")
