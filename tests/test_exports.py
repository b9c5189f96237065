"""What can be imported: the public names, their docstrings, the tree of errors."""

from __future__ import annotations

import importlib
import inspect
import pickle
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

import twitchvault
from twitchvault import errors

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = ["twitchvault", "twitchvault.oauth", "twitchvault.stores", "twitchvault.testing"]
ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, BaseException) and name != "WrongType"
}
"""`WrongType` is for ourselves: callers see a `TypeError`."""


@pytest.mark.parametrize("module", [*MODULES, "twitchvault.helix", "twitchvault.errors"])
def test_every_name_is_there_and_explained(module: str) -> None:
    """Each name of `__all__` exists, has a docstring of its own, and its methods do too."""
    package = importlib.import_module(module)
    for name in package.__all__:
        value = getattr(package, name)
        assert inspect.getdoc(value), name
        if inspect.isclass(value):
            assert value.__doc__, name
            _methods_are_explained(value)
    assert list(package.__all__) == sorted(package.__all__, key=_natural)
    assert len(set(package.__all__)) == len(package.__all__)


def _natural(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def _methods_are_explained(kind: type) -> None:
    for name, value in vars(kind).items():
        plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        documented = inspect.isfunction(plain) or isinstance(plain, property)
        if documented and not name.startswith("_"):
            assert inspect.getdoc(plain), f"{kind.__name__}.{name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The late imports do not swallow mistakes."""
    for module in MODULES[:1] + MODULES[2:]:
        with pytest.raises(AttributeError, match="Nonsense"):
            _ = importlib.import_module(module).Nonsense


def test_the_front_door_lists_what_it_has() -> None:
    """`dir(twitchvault)` shows the names that are imported late as well."""
    assert set(twitchvault.__all__) <= set(dir(twitchvault))


def test_the_flows_and_models_come_from_oauth() -> None:
    """`twitchvault.oauth` exports the flows, the token models and `Scopes`: the same objects."""
    oauth = importlib.import_module("twitchvault.oauth")
    names = ["DeviceCodeFlow", "AuthorizationCodeGrantFlow", "Token", "DeviceCode"]
    for name in [*names, "ValidateToken", "ClientCredentials", "Scopes"]:
        assert name in oauth.__all__
        assert getattr(oauth, name) is getattr(twitchvault, name)


def test_the_flows_are_apps() -> None:
    """Both flows are an App."""
    assert issubclass(twitchvault.DeviceCodeFlow, twitchvault.App)
    assert issubclass(twitchvault.AuthorizationCodeGrantFlow, twitchvault.App)


def test_every_exception_is_exported() -> None:
    """From the front door and from `errors`, and nothing stands outside the tree."""
    assert len(ERRORS) > 15
    for name, value in ERRORS.items():
        assert name in twitchvault.__all__
        assert name in errors.__all__
        assert issubclass(value, errors.TwitchVaultError)
        assert name in (errors.__doc__ or ""), "the tree in the docstring is whole"


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        ("HTTPException", "TwitchVaultError"),
        ("ClientException", "TwitchVaultError"),
        ("StoreError", "TwitchVaultError"),
        ("BadRequest", "HTTPException"),
        ("Unauthorized", "HTTPException"),
        ("Forbidden", "HTTPException"),
        ("NotFound", "HTTPException"),
        ("Conflict", "HTTPException"),
        ("RateLimited", "HTTPException"),
        ("TwitchServerError", "HTTPException"),
        ("AuthFailure", "ClientException"),
        ("TokenError", "ClientException"),
        ("StoreUnavailable", "StoreError"),
        ("VersionConflict", "StoreError"),
        ("CorruptRecord", "StoreError"),
        ("DecryptionError", "StoreError"),
    ],
)
def test_the_tree_of_errors(child: str, parent: str) -> None:
    """Each stands where the documentation says."""
    assert issubclass(ERRORS[child], ERRORS[parent])


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
    """They cross process borders whole."""
    error = make()
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {**vars(again), "headers": None} == {**vars(error), "headers": None}


def test_the_attributes_of_errors() -> None:
    """`status`, `message`, `headers`; `key`, `expected`, `found`."""
    http = errors.BadRequest(400, "no", {"Retry-After": "1"})
    assert (http.status, http.message, http.headers["Retry-After"]) == (400, "no", "1")
    with pytest.raises(TypeError):
        http.headers["x"] = "y"  # type: ignore[index]
    assert (http.text, http.error_code) == (http.message, "")
    assert errors.TwitchException is errors.TwitchVaultError
    conflict = errors.VersionConflict("key", 3, 4)
    assert (conflict.key, conflict.expected, conflict.found) == ("key", 3, 4)
    assert "'key'" in str(conflict)


FLOWS: dict[str, dict[str, Any]] = {
    "add_token": {"sync": True, "parameters": ["user_id", "access_token", "refresh_token"]},
    "add_user": {"sync": False, "parameters": ["access_token", "refresh_token"]},
    "authorize": {"sync": False, "parameters": ["token"]},
    "clear": {"sync": True, "parameters": []},
    "close": {"sync": False, "parameters": []},
    "credentials_grant_flow": {"sync": False, "parameters": []},
    "flush": {"sync": False, "parameters": []},
    "from_app": {"sync": True, "parameters": ["app"]},
    "get_token": {"sync": True, "parameters": ["user_id"]},
    "get_token_quota": {"sync": True, "parameters": ["user_id"]},
    "get_user_by_id": {"sync": True, "parameters": ["user_id"]},
    "refresh_token": {"sync": False, "parameters": ["token"]},
    "remove_token": {"sync": True, "parameters": ["user_id"]},
    "revoke_token": {"sync": False, "parameters": ["token"]},
    "sync": {"sync": False, "parameters": []},
    "validate_token": {"sync": False, "parameters": ["token"]},
}
DEVICE: dict[str, dict[str, Any]] = {
    "request_device_code": {"sync": False, "parameters": ["scopes"]},
    "get_device_token": {"sync": False, "parameters": ["device_code"]},
    "wait_for_device_token": {
        "sync": False,
        "parameters": ["device_code", "interval", "timeout"],
    },
}
CODE: dict[str, dict[str, Any]] = {
    "get_authorization_url": {
        "sync": True,
        "parameters": ["redirect_uri", "scopes", "state", "force_verify"],
    },
    "get_authorization_token": {"sync": False, "parameters": ["code", "redirect_uri"]},
}


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (twitchvault.App, FLOWS),
        (twitchvault.DeviceCodeFlow, FLOWS | DEVICE),
        (twitchvault.AuthorizationCodeGrantFlow, FLOWS | CODE),
    ],
)
def test_the_members_of_the_flows(kind: type, members: dict[str, dict[str, Any]]) -> None:
    """Each member of the table: sync or async as said, with the parameters of the reference."""
    for name, expected in members.items():
        member = getattr(kind, name)
        given = list(inspect.signature(member).parameters)
        assert [p for p in given if p != "self"] == expected["parameters"], name
        assert inspect.iscoroutinefunction(member) is not expected["sync"], name
    views = ("tokens", "tokens_validity", "users_scopes", "needs_login", "damaged")
    for name in ("application", *views):
        assert isinstance(inspect.getattr_static(kind, name), property)


@pytest.mark.parametrize("kind", [twitchvault.UserAPI, twitchvault.AppAPI])
def test_the_members_of_the_apis(kind: type) -> None:
    """What the design's table names, with the parameters it names."""
    coroutines = ["delete", "get", "get_user", "patch", "post", "put", "refresh", "renew",
                  "request", "revoke", "validate"]  # fmt: skip
    for name in coroutines:
        assert inspect.iscoroutinefunction(getattr(kind, name)), name
    assert inspect.isasyncgenfunction(kind.paginate)  # type: ignore[attr-defined]
    request = list(inspect.signature(kind.request).parameters)  # type: ignore[attr-defined]
    assert request == ["self", "method", "path", "params", "json"]
    for name in ("id", "login", "scopes", "token", "needs_login"):
        assert isinstance(inspect.getattr_static(kind, name), property)


def test_the_defaults_of_the_reference() -> None:
    """Optional arguments have the documented defaults."""
    wait = inspect.signature(twitchvault.DeviceCodeFlow.wait_for_device_token).parameters
    assert (wait["interval"].default, wait["timeout"].default) == (5, 300)
    url = inspect.signature(twitchvault.AuthorizationCodeGrantFlow.get_authorization_url).parameters
    assert url["scopes"].default == frozenset()
    assert (url["state"].default, url["force_verify"].default) == (None, False)
    code = inspect.signature(twitchvault.DeviceCodeFlow.request_device_code).parameters
    assert code["scopes"].default == frozenset()


def test_the_models() -> None:
    """Frozen, with the documented fields in the documented order, and a read-only `raw`."""
    fields = {
        "Token": ["access_token", "refresh_token", "expires_in", "scopes", "token_type", "raw"],
        "DeviceCode": ["device_code", "user_code", "verification_uri", "expires_in", "interval",
                       "raw"],
        "ValidateToken": ["client_id", "login", "user_id", "scopes", "expires_in", "raw"],
        "ClientCredentials": ["access_token", "expires_in", "token_type", "raw"],
    }  # fmt: skip
    for name, expected in fields.items():
        assert set(getattr(twitchvault, name).model_fields) == set(expected), name
    token = twitchvault.Token.from_answer({"access_token": "canary", "extra": {"k": 1}})
    assert token.raw["extra"] == {"k": 1}
    assert "canary" not in repr(token) + str(token) + repr(token.raw)
    with pytest.raises(ValueError, match="frozen"):
        token.access_token = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        token.raw["x"] = 1


def test_views_before_anything() -> None:
    """Without a loop, without `authorize`: empty read-only views, nothing is contacted."""
    flow = twitchvault.DeviceCodeFlow("id", "secret")
    views = (flow.tokens, flow.tokens_validity, flow.users_scopes, flow.needs_login)
    for view in (*views, flow.damaged):
        assert type(view) is MappingProxyType
        assert dict(view) == {}
    assert flow.application is None
    assert flow.http.client_id == "id"
    assert "secret" not in repr(flow) + repr(flow.http) + repr(vars(flow))
