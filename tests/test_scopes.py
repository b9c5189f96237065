"""The list of known scopes, and what is accepted where scopes are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from twitchvault.scopes import Scopes, scope_names

KNOWN = """
    openid analytics:read:extensions analytics:read:games bits:read channel:bot
    channel:edit:commercial channel:manage:ads channel:manage:broadcast channel:manage:clips
    channel:manage:extensions channel:manage:guest_star channel:manage:moderators
    channel:manage:polls channel:manage:predictions channel:manage:raids
    channel:manage:redemptions channel:manage:schedule channel:manage:videos channel:manage:vips
    channel:moderate channel:read:ads channel:read:charity channel:read:editors
    channel:read:goals channel:read:guest_star channel:read:hype_train channel:read:polls
    channel:read:predictions channel:read:redemptions channel:read:stream_key
    channel:read:subscriptions channel:read:vips chat:edit chat:read clips:edit
    editor:manage:clips moderation:read moderator:manage:announcements moderator:manage:automod
    moderator:manage:automod_settings moderator:manage:banned_users
    moderator:manage:blocked_terms moderator:manage:chat_messages moderator:manage:chat_settings
    moderator:manage:guest_star moderator:manage:shield_mode moderator:manage:shoutouts
    moderator:manage:suspicious_users moderator:manage:unban_requests moderator:manage:warnings
    moderator:read:automod_settings moderator:read:banned_users moderator:read:blocked_terms
    moderator:read:chat_messages moderator:read:chat_settings moderator:read:chatters
    moderator:read:followers moderator:read:guest_star moderator:read:moderators
    moderator:read:shield_mode moderator:read:shoutouts moderator:read:suspicious_users
    moderator:read:unban_requests moderator:read:vips moderator:read:warnings user:bot user:edit
    user:edit:broadcast user:manage:blocked_users user:manage:chat_color user:manage:whispers
    user:read:blocked_users user:read:broadcast user:read:chat user:read:email user:read:emotes
    user:read:follows user:read:moderated_channels user:read:subscriptions user:read:whispers
    user:write:chat whispers:read channel_subscriptions user:edit:follows whispers:edit
"""


def test_every_documented_scope_is_a_member() -> None:
    """The members are exactly the documented scopes, named after their values."""
    assert {scope.name: scope.value for scope in Scopes} == {
        name.upper().replace(":", "_"): name for name in KNOWN.split()
    }
    assert len(Scopes) == 85


def test_members_are_strings() -> None:
    """A member can be used wherever a scope is expected as a string."""
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
    """A string would be taken for a set of letters; the error says what to write."""
    with pytest.raises(TypeError, match=r"'scopes' must be a set or list of scopes, like \{'chat"):
        scope_names(scopes)


@pytest.mark.parametrize(
    "scope", ["", " ", "chat:read chat:edit", "a\u2003b", "a\x00", "a\ud800", 5, None, b"chat:read"]
)
def test_a_scope_is_one_word(scope: Any) -> None:  # noqa: ANN401
    """White space would make one scope two, an empty one would vanish."""
    with pytest.raises(ValueError, match="'scopes' must be"):
        scope_names([scope])
    assert scope_names([" chat:read\n"]) == ("chat:read",)
