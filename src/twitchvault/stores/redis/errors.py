"""The one place where what the driver raises becomes an error of ours.

Messages name the server, never a password, a value or an argument of a command: of the driver's
texts only those are passed on that cannot hold any.
"""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions

from twitchvault.errors import StoreError, StoreUnavailable
from twitchvault.stores.redis.scripts import COMMANDS

_QUOTES: Final = re.compile(r",? with args beginning with.*|,? script: \S*,? ?on @user_script.*")
"""What a reply quotes of a command, or says of a script."""
_DENIED: Final = re.compile(r"NOPERM|ACL failure|[Nn]o permissions|can.t run this command")
_NO_PASSWORD: Final = re.compile(
    "NOAUTH|Authentication required|HELLO must be called with|without any password"
)


def map_error(error: BaseException, server: str, secret: str, *, writes: bool) -> StoreError:
    """The error of ours for whatever a call of the driver raised."""
    text = " ".join(str(error).split())
    if secret:
        text = text.replace(secret, "***")
    if _NO_PASSWORD.search(text):
        return StoreUnavailable(
            f"{server}: a password is required; give it in the URL or to the client"
        )
    if isinstance(error, exceptions.AuthenticationError):
        return StoreUnavailable(
            f"{server}: the user name or password is wrong; correct it in the URL or the client"
        )
    if isinstance(error, exceptions.ResponseError):
        return _map_reply(server, _QUOTES.sub("", text))
    doubt = writes and not isinstance(error, exceptions.MaxConnectionsError)
    doubtful = "; the write may have taken place or not" if doubt else ""
    return StoreUnavailable(f"{server}: {_describe(error, text)}{doubtful}")


def _map_reply(server: str, reply: str) -> StoreError:
    """The error for what the server has answered."""
    if "WRONGTYPE" in reply:
        return StoreError(
            f"{server}: a key of the namespace holds something that is not ours; "
            f"choose another 'namespace'"
        )
    if reply.startswith("FORM "):
        return StoreError(
            f"{server}: the namespace was written by a newer version of twitchvault; "
            f"upgrade this one"
        )
    advice = f"; allow it with ACL SETUSER (needed: {COMMANDS})" if _DENIED.search(reply) else ""
    return StoreUnavailable(f"{server}: the server answered: {reply}{advice}")


def _describe(error: BaseException, text: str) -> str:
    """What an error says that is no reply of the server."""
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.RedisClusterException | exceptions.ClusterError):
        return "the cluster cannot be reached or does not cover all slots"  # its text quotes calls
    if isinstance(error, exceptions.ConnectionError | OSError):
        return f"cannot be reached: {text or type(error).__name__}"
    return f"the driver failed with {type(error).__name__}"
