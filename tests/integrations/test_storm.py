"""Several processes, one expired token, and a framework in each of them."""

from __future__ import annotations

import pytest

from benchmarks.integrations import installed, storm


@pytest.mark.parametrize("framework", installed())
async def test_one_refresh_in_all_processes(framework: str) -> None:
    """One exchange, no replay, every call answered; `python -m benchmarks.integrations` has all."""
    kind = "confidential, rotate" if framework == "twitchpy" else "public"
    outcome = await storm(framework, kind, vaulted=True, processes=2, calls=10)
    assert outcome.exchanges == 1
    assert outcome.replays == 0
    assert outcome.good == 20
