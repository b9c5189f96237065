"""Times: RFC 3339 in UTC for programs, ages for people."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

__all__ = ["age", "duration", "rfc3339"]

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def rfc3339(moment: float | None) -> str | None:
    """Epoch seconds in UTC, "2026-01-31T12:00:00Z"; None stays None."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None  # a record that somebody has damaged


def duration(seconds: float) -> str:
    """A length of time in its two largest units, "3 h 20 min"."""
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def age(moment: float | None) -> str:
    """How long ago it was, or is to be; "never" for None."""
    if moment is None:
        return "never"
    ago = time.time() - moment
    return f"{duration(ago)} ago" if ago >= 0 else f"in {duration(-ago)}"
