"""The reference names everything that is public, with the arguments it has, and nothing else."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

import pytest

import twitchvault
from twitchvault import errors, oauth, stores, testing
from twitchvault.stores import base
from twitchvault.testing import fake

from .pages import ROOT, prose

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from pydantic import BaseModel

REFERENCE: Final = ROOT / "docs" / "reference.md"
ERRORS: Final = ROOT / "docs" / "errors.md"

MODULES: Final = {
    "`twitchvault`": twitchvault,
    "`twitchvault.oauth`": oauth,
    "`twitchvault.stores`": stores,
    "`twitchvault.stores.base`": base,
    "`twitchvault.testing`": testing,
}
CLASSES: Final = {
    "`App`": twitchvault.App,
    "`DeviceCodeFlow`": oauth.DeviceCodeFlow,
    "`AuthorizationCodeGrantFlow`": oauth.AuthorizationCodeGrantFlow,
    "`UserAPI`": twitchvault.UserAPI,
    "`AppAPI`": twitchvault.AppAPI,
    "`TokenStore`": twitchvault.TokenStore,
    "`Watchable`": twitchvault.Watchable,
    "`Feed`": twitchvault.Feed,
}
INHERITED: Final = {
    "`DeviceCodeFlow`": twitchvault.App,
    "`AuthorizationCodeGrantFlow`": twitchvault.App,
    "`AppAPI`": twitchvault.UserAPI,
}
MODELS: Final = (
    oauth.Token,
    oauth.DeviceCode,
    oauth.ValidateToken,
    oauth.ClientCredentials,
    twitchvault.User,
)
RECORDS: Final = (twitchvault.Entry, twitchvault.Change, twitchvault.VaultEvent)


def table(page: Path, heading: str) -> list[str]:
    """The rows below a heading that begin with code."""
    _, _, rest = prose(page).partition(f"\n## {heading}\n")
    return [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]


def sections(page: Path) -> dict[str, list[str]]:
    """The code that each of those rows begins with, by heading."""
    headings = [line[3:] for line in prose(page).splitlines() if line.startswith("## ")]
    return {heading: [row.split("`")[1] for row in table(page, heading)] for heading in headings}


def names(rows: list[str]) -> list[str]:
    """The names, without arguments."""
    return [row.partition("(")[0] for row in rows]


def public(owner: type) -> set[str]:
    """The public members of a class."""
    return {member for member in dir(owner) if not member.startswith("_")}


def arguments(function: Callable[..., object]) -> str:
    """A function's arguments as the reference writes them: no annotations, no self."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize("heading", MODULES)
def test_every_public_name_of_a_module_is_there(heading: str) -> None:
    """The rows are exactly the names in `__all__`; errors have a page of their own."""
    module: ModuleType = MODULES[heading]
    rows = names(sections(REFERENCE)[heading])
    assert sorted(rows) == sorted(set(module.__all__) - set(errors.__all__))


@pytest.mark.parametrize("heading", CLASSES)
def test_every_member_of_a_class_is_there(heading: str) -> None:
    """The rows are exactly the public members, each with the arguments it takes."""
    owner = CLASSES[heading]
    inherited = public(INHERITED[heading]) - vars(owner).keys() if heading in INHERITED else set()
    rows = sections(REFERENCE)[heading]
    assert sorted(names(rows)) == sorted(public(owner) - inherited)
    for row in rows:
        name = row.partition("(")[0]
        member = inspect.getattr_static(owner, name)
        if isinstance(member, classmethod):
            member = getattr(owner, name)
        assert row == (name + arguments(member) if callable(member) else name)


@pytest.mark.parametrize("heading", CLASSES)
def test_what_has_to_be_awaited_is_said(heading: str) -> None:
    """A member is called async exactly if it is a coroutine function."""
    for line in table(REFERENCE, heading):
        found = re.match(r"\| `(\w+)[^|]*\| ([\w ]+) \|", line)
        assert found is not None, line
        name, kind = found.groups()
        member = inspect.getattr_static(CLASSES[heading], name)
        assert (kind == "async") == inspect.iscoroutinefunction(member), line


def test_the_constructor_is_there() -> None:
    """As it stands in the code, for it is what everybody writes first."""
    signature = arguments(twitchvault.App).replace("'", '"')
    assert f"`App{signature}`" in prose(REFERENCE)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_of_a_model_is_there(model: type[BaseModel]) -> None:
    """The row of a model names its fields, in order; `raw` comes last."""
    fields = [name for name in model.model_fields if name != "raw"]
    fields += ["raw"] if "raw" in model.model_fields else []
    assert f"{model.__name__}({', '.join(fields)})" in sections(REFERENCE)["Models"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_tuple_is_there(
    record: type[twitchvault.Entry | twitchvault.Change | twitchvault.VaultEvent],
) -> None:
    """The row of a named tuple names its fields, in order."""
    assert f"{record.__name__}({', '.join(record._fields)})" in sections(REFERENCE)["Models"]


def test_every_command_of_the_double_is_there() -> None:
    """The rows are exactly the public methods and properties of `FakeTwitch`."""
    settings = set(fake.Settings.__dataclass_fields__)
    rows = names(sections(REFERENCE)["`FakeTwitch`"])
    assert sorted(rows) == sorted(public(fake.FakeTwitch) - settings)


def test_every_error_is_explained() -> None:
    """The tables of the page on errors name every exception class once, and nothing else."""
    kinds = [name for name in errors.__all__ if inspect.isclass(getattr(errors, name))]
    rows = [row for table in sections(ERRORS).values() for row in names(table)]
    assert sorted(rows) == sorted(kinds)
