"""What `twitchvault doctor` looks at, a module for each subject."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Check(NamedTuple):
    """One line: what was looked at, how it is, and what to do about it."""

    name: str
    state: Literal["ok", "warning", "problem"]
    text: str
    advice: str = ""
