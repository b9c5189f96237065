"""The list of known scopes, and what is accepted where scopes are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from twitchvault.scopes import Scopes, scope_names


def test_members_are_strings() -> None:
    """A member, named as the scope, can be used wherever one is expected as a string."""
    assert len(Scopes) == 85
    assert all(scope.name == scope.value.upper().replace(":", "_") for scope in Scopes)
    assert str(Scopes.CHANNEL_READ_SUBSCRIPTIONS) == "channel:read:subscriptions"
    assert f"{Scopes.CHANNEL_SUBSCRIPTIONS}" == "channel_subscriptions"
    assert Scopes.CHAT_READ in {"chat:read", "chat:edit"}
    assert Scopes("chat:read") is Scopes.CHAT_READ


def test_names_are_sorted_and_unique_plain_strings() -> None:
    """Members and strings, known or not, in any order and repeated, give one order."""
    names = scope_names(["new:thing", Scopes.CHAT_READ, "bits:read", "chat:read"])
    assert names == ("bits:read", "chat:read", "new:thing")
    assert {type(name) for name in names} == {str}
    assert scope_names(scope for scope in names) == names
    assert scope_names(()) == ()


@pytest.mark.parametrize("scopes", ["chat:read", Scopes.CHAT_READ, b"chat:read"[0], None])
def test_what_is_no_collection_is_refused(scopes: Any) -> None:  # noqa: ANN401
    """A string would be a set of letters, white space two scopes, and an empty one none at all."""
    with pytest.raises(TypeError, match=r"'scopes' must be a set or list of scopes, like \{'chat"):
        scope_names(scopes)
    for scope in ("", "chat:read chat:edit", "a\u2003b", "a\x00", "a\ud800", 5, None):
        with pytest.raises(ValueError, match="'scopes' must be"):
            scope_names([scope])  # type: ignore[list-item]
    assert scope_names([" chat:read\n"]) == ("chat:read",)
