"""What can be imported: the public names, their docstrings, the tree of errors."""

from __future__ import annotations

import importlib
import inspect
import pickle
import re
from typing import TYPE_CHECKING

import pytest

import twitchvault
from twitchvault import errors, oauth, stores

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = ["twitchvault", "twitchvault.oauth", "twitchvault.stores", "twitchvault.testing"]
ERRORS = {
    name: value
    for name in twitchvault.__all__
    if inspect.isclass(value := getattr(twitchvault, name)) and issubclass(value, BaseException)
}


@pytest.mark.parametrize("module", [*MODULES, "twitchvault.helix", "twitchvault.errors"])
def test_every_name_is_there_and_explained(module: str) -> None:
    """Each name of `__all__` exists once, has a docstring of its own, and its methods do too."""
    package = importlib.import_module(module)
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__doc__, name
        if inspect.isclass(value):
            _methods_are_explained(value)


def _methods_are_explained(kind: type) -> None:
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        documented = inspect.isfunction(plain) or isinstance(plain, property)
        if documented and not name.startswith("_"):
            assert inspect.getdoc(plain), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("package", [oauth, stores])
def test_the_package_has_the_names_of_its_parts(package: object) -> None:
    """What `twitchvault.oauth` and `twitchvault.stores` export, `twitchvault` exports too."""
    for name in package.__all__:  # type: ignore[attr-defined]
        assert name in twitchvault.__all__
        assert getattr(twitchvault, name) is getattr(package, name)


@pytest.mark.parametrize("module", ["twitchvault", "twitchvault.stores"])
def test_names_that_are_imported_late(module: str) -> None:
    """An editor completes them, and a mistake among them is an AttributeError."""
    package = importlib.import_module(module)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = package.Nonsense


def test_every_error_is_exported_and_in_the_tree() -> None:
    """The tree in the docstring of `errors` is the tree of the classes."""
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.TwitchVaultError)
    }
    assert defined == set(ERRORS)
    parents = ["TwitchVaultError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}((?:[│├└─ ]{4})+)(\w+)", line):
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            assert issubclass(ERRORS[found[2]], ERRORS[parents[depth - 1]]), line
            assert ERRORS[found[2]].__doc__
    assert set(re.findall(r"\w+", errors.__doc__ or "")) >= set(ERRORS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: errors.HTTPException(418, "teapot", {"A": "b"}),
        lambda: errors.NoAnswer("gone", sent=False, too_late=True),
        lambda: errors.VersionConflict("key", 0, 7),
        lambda: errors.AuthFailure("sign in"),
        lambda: errors.CorruptRecord("bytes"),
        lambda: errors.MissingDriver("pip install"),
        lambda: errors.NotAuthorized("authorize()"),
    ],
)
def test_errors_survive_a_pickle(make: Callable[[], BaseException]) -> None:
    """They cross process borders with all that they carry."""
    error = make()
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {**vars(copy), "headers": None} == {**vars(error), "headers": None}


def test_the_attributes_of_errors() -> None:
    """`status`, `message` and `text`, `headers`; `key`, `expected`, `found`."""
    error = errors.BadRequest(400, "no", {"Retry-After": "1"})
    assert (error.status, error.message, error.text, error.error_code) == (400, "no", "no", "")
    assert error.headers["retry-after"] == "1"
    conflict = errors.VersionConflict("key", 3, 4)
    assert (conflict.key, conflict.expected, conflict.found) == ("key", 3, 4)
    assert errors.TwitchException is errors.TwitchVaultError
