"""The flows by which a user signs in, and the token models they return."""

from twitchvault.models import ClientCredentials, DeviceCode, IdToken, Token, ValidateToken
from twitchvault.oauth.code import AuthorizationCodeGrantFlow
from twitchvault.oauth.device import DeviceCodeFlow
from twitchvault.scopes import Scopes

__all__ = [
    "AuthorizationCodeGrantFlow",
    "ClientCredentials",
    "DeviceCode",
    "DeviceCodeFlow",
    "IdToken",
    "Scopes",
    "Token",
    "ValidateToken",
]
