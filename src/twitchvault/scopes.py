"""The scopes a token can have.

Unknown scopes pass as plain strings everywhere: Twitch adds new ones every few months.
Source of the names: https://dev.twitch.tv/docs/authentication/scopes/, as of March 2026.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from twitchvault.errors import WrongType
from twitchvault.inputs import word

__all__ = ["Scopes", "scope_names"]


class Scopes(StrEnum):
    """Every known scope; a member is a string and can be used wherever one is expected."""

    OPENID = "openid"
    ANALYTICS_READ_EXTENSIONS = "analytics:read:extensions"
    ANALYTICS_READ_GAMES = "analytics:read:games"
    BITS_READ = "bits:read"
    CHANNEL_BOT = "channel:bot"
    CHANNEL_EDIT_COMMERCIAL = "channel:edit:commercial"
    CHANNEL_MANAGE_ADS = "channel:manage:ads"
    CHANNEL_MANAGE_BROADCAST = "channel:manage:broadcast"
    CHANNEL_MANAGE_CLIPS = "channel:manage:clips"
    CHANNEL_MANAGE_EXTENSIONS = "channel:manage:extensions"
    CHANNEL_MANAGE_GUEST_STAR = "channel:manage:guest_star"
    CHANNEL_MANAGE_MODERATORS = "channel:manage:moderators"
    CHANNEL_MANAGE_POLLS = "channel:manage:polls"
    CHANNEL_MANAGE_PREDICTIONS = "channel:manage:predictions"
    CHANNEL_MANAGE_RAIDS = "channel:manage:raids"
    CHANNEL_MANAGE_REDEMPTIONS = "channel:manage:redemptions"
    CHANNEL_MANAGE_SCHEDULE = "channel:manage:schedule"
    CHANNEL_MANAGE_VIDEOS = "channel:manage:videos"
    CHANNEL_MANAGE_VIPS = "channel:manage:vips"
    CHANNEL_MODERATE = "channel:moderate"
    CHANNEL_READ_ADS = "channel:read:ads"
    CHANNEL_READ_CHARITY = "channel:read:charity"
    CHANNEL_READ_EDITORS = "channel:read:editors"
    CHANNEL_READ_GOALS = "channel:read:goals"
    CHANNEL_READ_GUEST_STAR = "channel:read:guest_star"
    CHANNEL_READ_HYPE_TRAIN = "channel:read:hype_train"
    CHANNEL_READ_POLLS = "channel:read:polls"
    CHANNEL_READ_PREDICTIONS = "channel:read:predictions"
    CHANNEL_READ_REDEMPTIONS = "channel:read:redemptions"
    CHANNEL_READ_STREAM_KEY = "channel:read:stream_key"
    CHANNEL_READ_SUBSCRIPTIONS = "channel:read:subscriptions"
    CHANNEL_READ_VIPS = "channel:read:vips"
    CHAT_EDIT = "chat:edit"
    CHAT_READ = "chat:read"
    CLIPS_EDIT = "clips:edit"
    EDITOR_MANAGE_CLIPS = "editor:manage:clips"
    MODERATION_READ = "moderation:read"
    MODERATOR_MANAGE_ANNOUNCEMENTS = "moderator:manage:announcements"
    MODERATOR_MANAGE_AUTOMOD = "moderator:manage:automod"
    MODERATOR_MANAGE_AUTOMOD_SETTINGS = "moderator:manage:automod_settings"
    MODERATOR_MANAGE_BANNED_USERS = "moderator:manage:banned_users"
    MODERATOR_MANAGE_BLOCKED_TERMS = "moderator:manage:blocked_terms"
    MODERATOR_MANAGE_CHAT_MESSAGES = "moderator:manage:chat_messages"
    MODERATOR_MANAGE_CHAT_SETTINGS = "moderator:manage:chat_settings"
    MODERATOR_MANAGE_GUEST_STAR = "moderator:manage:guest_star"
    MODERATOR_MANAGE_SHIELD_MODE = "moderator:manage:shield_mode"
    MODERATOR_MANAGE_SHOUTOUTS = "moderator:manage:shoutouts"
    MODERATOR_MANAGE_SUSPICIOUS_USERS = "moderator:manage:suspicious_users"
    MODERATOR_MANAGE_UNBAN_REQUESTS = "moderator:manage:unban_requests"
    MODERATOR_MANAGE_WARNINGS = "moderator:manage:warnings"
    MODERATOR_READ_AUTOMOD_SETTINGS = "moderator:read:automod_settings"
    MODERATOR_READ_BANNED_USERS = "moderator:read:banned_users"
    MODERATOR_READ_BLOCKED_TERMS = "moderator:read:blocked_terms"
    MODERATOR_READ_CHAT_MESSAGES = "moderator:read:chat_messages"
    MODERATOR_READ_CHAT_SETTINGS = "moderator:read:chat_settings"
    MODERATOR_READ_CHATTERS = "moderator:read:chatters"
    MODERATOR_READ_FOLLOWERS = "moderator:read:followers"
    MODERATOR_READ_GUEST_STAR = "moderator:read:guest_star"
    MODERATOR_READ_MODERATORS = "moderator:read:moderators"
    MODERATOR_READ_SHIELD_MODE = "moderator:read:shield_mode"
    MODERATOR_READ_SHOUTOUTS = "moderator:read:shoutouts"
    MODERATOR_READ_SUSPICIOUS_USERS = "moderator:read:suspicious_users"
    MODERATOR_READ_UNBAN_REQUESTS = "moderator:read:unban_requests"
    MODERATOR_READ_VIPS = "moderator:read:vips"
    MODERATOR_READ_WARNINGS = "moderator:read:warnings"
    USER_BOT = "user:bot"
    USER_EDIT = "user:edit"
    USER_EDIT_BROADCAST = "user:edit:broadcast"
    USER_MANAGE_BLOCKED_USERS = "user:manage:blocked_users"
    USER_MANAGE_CHAT_COLOR = "user:manage:chat_color"
    USER_MANAGE_WHISPERS = "user:manage:whispers"
    USER_READ_BLOCKED_USERS = "user:read:blocked_users"
    USER_READ_BROADCAST = "user:read:broadcast"
    USER_READ_CHAT = "user:read:chat"
    USER_READ_EMAIL = "user:read:email"
    USER_READ_EMOTES = "user:read:emotes"
    USER_READ_FOLLOWS = "user:read:follows"
    USER_READ_MODERATED_CHANNELS = "user:read:moderated_channels"
    USER_READ_SUBSCRIPTIONS = "user:read:subscriptions"
    USER_READ_WHISPERS = "user:read:whispers"
    USER_WRITE_CHAT = "user:write:chat"
    WHISPERS_READ = "whispers:read"
    CHANNEL_SUBSCRIPTIONS = "channel_subscriptions"
    USER_EDIT_FOLLOWS = "user:edit:follows"
    WHISPERS_EDIT = "whispers:edit"


def scope_names(scopes: Iterable[str]) -> tuple[str, ...]:
    """The names of `scopes`, sorted and each once, so that equal sets give equal requests.

    `TypeError` for a bare string or what is no collection; `ValueError` for a scope that is not one
    word: a list of scopes is sent with spaces between the names.
    """
    if isinstance(scopes, str) or not isinstance(scopes, Iterable):
        msg = f"'scopes' must be a set or list of scopes, like {{'chat:read'}}, not {scopes!r}"
        raise WrongType(msg)
    return tuple(sorted({word("scopes", scope) for scope in scopes}))
