"""The reference names everything that is public, and its tables say what the code says."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Final, get_args, get_type_hints

import pytest

import twitchvault
from docs.generate import PAGES, generated
from twitchvault import errors
from twitchvault.testing.fake import Settings, Switches

from .pages import ROOT, name, prose

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE: Final = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ERRORS: Final = ROOT / "docs" / "errors.md"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_tables_are_those_of_the_code(page: Path) -> None:
    """`make docs` would change nothing."""
    text = page.read_text(encoding="utf-8")
    assert generated(text) == text, "run 'make docs'"


def test_every_name_of_the_package_has_its_table() -> None:
    """A class has its members there, a model its fields; errors and stores have pages."""
    subjects = {part for found in re.findall(r"<!-- (.*) -->", REFERENCE) for part in found.split()}
    for public in set(twitchvault.__all__) - set(errors.__all__) - {"Scopes", "open_store"}:
        if public == "TokenStore" or not public.endswith(("Store", "Flow")):
            assert f"twitchvault.{public}" in subjects, public


def test_every_row_says_something() -> None:
    """A public member without a docstring would be an empty cell."""
    assert "|  |" not in REFERENCE


def test_every_argument_of_the_constructor_is_explained() -> None:
    """The table of the constructor's arguments is written by hand."""
    explained = re.findall(
        r"\*(\w+)\*", REFERENCE.partition("| argument |")[2].partition("\n\n")[0]
    )
    assert explained == list(inspect.signature(twitchvault.App).parameters)


@pytest.mark.parametrize("options", [Settings, Switches])
def test_every_option_of_the_double_is_explained(options: type) -> None:
    """The table of each dataclass comes from its docstring, which has to name every field."""
    marker = f"<!-- options: twitchvault.testing.fake.{options.__name__} -->"
    table = REFERENCE.partition(marker)[2].partition("\n\n")[0]
    explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|[^|]*", table, re.MULTILINE)))
    assert sorted(explained) == sorted(field.name for field in fields(options))


def test_every_kind_of_event_is_named() -> None:
    """The sentence below the models names them in the order of the code."""
    kinds = get_args(get_type_hints(twitchvault.VaultEvent)["kind"])
    assert f"The kinds of a `VaultEvent`: {', '.join(kinds)}.\n" in REFERENCE


def test_every_error_is_explained() -> None:
    """The tables of the page on errors name every exception class once, and nothing else."""
    kinds = [kind for kind in errors.__all__ if inspect.isclass(getattr(errors, kind))]
    rows = re.findall(r"^\| `(\w+)` \|", prose(ERRORS), re.MULTILINE)
    assert sorted(rows) == sorted(kinds)
