"""Authenticated calls to the Helix API, in the name of a user or of the application."""

from twitchvault.helix.api import AppAPI, User, UserAPI

__all__ = ["AppAPI", "User", "UserAPI"]
