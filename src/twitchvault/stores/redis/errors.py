"""The one place where what the driver raises becomes an error of ours.

Messages name the server, never a password, a value or an argument of a command: of the driver's
texts only those are passed on that cannot hold any.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from redis import exceptions

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable
from twitchvault.stores.redis.scripts import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["map_error"]

_MEANINGS: Final[Mapping[str, str]] = {
    "WRONGPASS": "the user name or password is wrong; correct it in the URL or the client",
    "NOAUTH": "a password is required; give it in the URL or to the client",
    "NOPERM": f"{{reply}}; allow it with ACL SETUSER (needed: {COMMANDS})",
    "OOM": "the server is out of memory (maxmemory); nothing was written",
    "READONLY": "this server is a replica, which cannot be written",
    "MASTERDOWN": "this server is a replica that has lost its primary",
    "CLUSTERDOWN": "the cluster is down or does not cover all slots",
    "TRYAGAIN": "the cluster is moving the namespace's slot",
    "MOVED": "the cluster has moved the namespace's slot",
    "ASK": "the cluster is moving the namespace's slot",
    "BUSY": "the server is busy with somebody's script",
    "UNBLOCKED": "the server has become a replica",
    "NOREPLICAS": "the server refuses writes: too few replicas (min-replicas-to-write)",
    "MISCONF": "the server refuses writes: it cannot save its data to disk",
    "CROSSSLOT": "the server takes the keys of a namespace for different slots",
}
"""What the server's error codes mean; an unknown one is quoted."""

_NOT_OURS: Final[Mapping[str, str]] = {
    "WRONGTYPE": "a key of the namespace holds something that is not ours; choose another one",
    "FORM": "the namespace was written by a newer version of twitchvault; upgrade this one",
}

_CODES_OF: Final[Mapping[type[Exception], str]] = {
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
}
"""Errors whose code the driver has cut off; of two that fit, the narrower class comes first."""

_CODE: Final = re.compile(r"\b(" + "|".join((*_MEANINGS, *_NOT_OURS)) + r")\b")
_QUOTES: Final = re.compile(r",? with args beginning with.*|,? script: \S*,? ?on @user_script.*")
"""What a reply may quote of a command, or say of a script."""
_DENIED: Final = re.compile(r"ACL failure|[Nn]o permissions|can.t run this command")
_NO_PASSWORD: Final = re.compile(
    "NOAUTH|Authentication required|HELLO must be called with|without any password"
)
_MAYBE: Final = "; the write may have taken place or not"


def map_error(error: Exception, server: str, secret: str, *, writes: bool) -> StoreError:
    """The error of ours for whatever a call of the driver raised."""
    text = " ".join(str(error).split())
    if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError):
        return _reply(server, _code(error, text), _scrubbed(_QUOTES.sub("", text), secret))
    if isinstance(error, exceptions.RedisClusterException) and _NO_PASSWORD.search(text):
        return _reply(server, "NOAUTH", "")
    told = _connection(error, _scrubbed(text, secret))
    sent = not isinstance(error, exceptions.MaxConnectionsError)
    return StoreUnavailable(f"{server}: {told}{_MAYBE if writes and sent else ''}")


def _reply(server: str, code: str, reply: str) -> StoreError:
    """The error for what the server has answered."""
    if code in _NOT_OURS:
        return CorruptRecord(f"{server}: {_NOT_OURS[code]}")
    meaning = _MEANINGS.get(code, "the server answered: {reply}")
    return StoreUnavailable(f"{server}: {meaning.format(reply=reply)}")


def _code(error: Exception, text: str) -> str:
    """The code of an error reply, or ''."""
    if _NO_PASSWORD.search(text):
        return "NOAUTH"
    for kind, code in _CODES_OF.items():
        if isinstance(error, kind):
            return code
    found = _CODE.search(text)
    return found[1] if found else "NOPERM" if _DENIED.search(text) else ""


def _connection(error: Exception, text: str) -> str:
    """What an error says that is no answer of the server."""
    if isinstance(error, exceptions.MaxConnectionsError):
        return "all its client's connections are in use; nothing was sent"
    if isinstance(error, exceptions.BusyLoadingError):
        return "the server is still loading its data"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.RedisClusterException | exceptions.ClusterError):
        return "the cluster cannot be reached or does not cover all slots"  # its text quotes calls
    if isinstance(error, exceptions.ConnectionError | OSError):
        return f"cannot be reached: {text or type(error).__name__}"
    return f"the driver failed with {type(error).__name__}"


def _scrubbed(text: str, secret: str) -> str:
    return text.replace(secret, "***") if secret else text
