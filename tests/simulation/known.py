"""Seeds that ever failed, by what was wrong with the vault."""

from __future__ import annotations

from typing import Final

__all__ = ["KNOWN"]

KNOWN: Final[dict[int, str]] = {}
