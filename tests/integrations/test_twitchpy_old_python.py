"""twitch.py on a Python that is too old for it."""

from __future__ import annotations

import importlib

import pytest


def test_the_module_says_which_python_it_needs() -> None:
    """One clear sentence, and no syntax error of twitch.py's."""
    with pytest.raises(ImportError, match=r"twitch\.py needs Python 3\.12 or later"):
        importlib.import_module("twitchvault.integrations.twitchpy")
