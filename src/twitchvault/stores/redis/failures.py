"""The one place where what the driver and the server say becomes an error of ours.

Messages name the address, never a password, a key's value or an argument of a command: of the
driver's exceptions only those texts are passed on that cannot hold any.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple

from redis import exceptions

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable
from twitchvault.stores.redis.scripts import NEEDED

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DRIVER_ERRORS", "Failure", "Translator"]

DRIVER_ERRORS: Final = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    OSError,
    TimeoutError,
    AttributeError,  # in a Cluster one task's failed call closes connections under another's
)
"""All that a call of the driver is known to raise for reasons outside of this process."""


class Failure(NamedTuple):
    """What a failed call means."""

    error: StoreError
    again: bool
    """Whether the same call may go through a moment later."""
    sent: bool
    """Whether the server may have carried the call out all the same."""


class _Meaning(NamedTuple):
    """What one of the server's error codes means."""

    text: str
    again: bool = False
    kind: type[StoreError] = StoreUnavailable


_CODES: Final[Mapping[str, _Meaning]] = {
    "WRONGPASS": _Meaning(
        "the user name or password is wrong; correct it in the URL or the client"
    ),
    "NOAUTH": _Meaning("a password is required; give it in the URL or to the client"),
    "NOPERM": _Meaning(f"{{quoted}}; allow it with ACL SETUSER (needed: {NEEDED})"),
    "WRONGTYPE": _Meaning(
        "a key of this namespace holds something that is not ours{key}; choose another 'namespace'",
        kind=CorruptRecord,
    ),
    "FORMAT": _Meaning(
        "the namespace was written by a newer version of twitchvault; upgrade this one",
        kind=CorruptRecord,
    ),
    "OOM": _Meaning("the server is out of memory (maxmemory); nothing was written"),
    "READONLY": _Meaning("this server is a replica, which cannot be written", again=True),
    "LOADING": _Meaning("the server is still loading its data", again=True),
    "MASTERDOWN": _Meaning("a replica that has lost its primary", again=True),
    "CLUSTERDOWN": _Meaning("the cluster is down or does not cover all slots", again=True),
    "TRYAGAIN": _Meaning("the cluster is moving the namespace's slot", again=True),
    "MOVED": _Meaning("the cluster has moved the namespace's slot", again=True),
    "ASK": _Meaning("the cluster is moving the namespace's slot", again=True),
    "BUSY": _Meaning("the server is busy with somebody's script", again=True),
    "UNBLOCKED": _Meaning("the server has become a replica", again=True),
    "NOREPLICAS": _Meaning("the server refuses writes: too few replicas (min-replicas-to-write)"),
    "MISCONF": _Meaning("the server refuses writes: it cannot save its data to disk"),
    "CROSSSLOT": _Meaning("the server takes the keys of a namespace for different slots"),
    "LATE": _Meaning("a batch of writes came late and was refused"),
    "NOPROTO": _Meaning("the server does not speak the protocol the client asks for"),
}

_CLASSES: Final[Mapping[type[Exception], str]] = {
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
}
"""Errors whose code the driver has cut off; of two that fit, the narrower class comes first."""

_CODE: Final = re.compile(r"\b(" + "|".join(_CODES) + r")\b")
_KEY: Final = re.compile(r"\((\{[^{}]*\}:[a-z]+)\)")
_ARGUMENTS: Final = re.compile(r",? with args beginning with.*", re.DOTALL)
_CALL: Final = re.compile(r",? script: \S*,? ?on @user_script.*|@user_script.*", re.DOTALL)
_DENIED: Final = re.compile(r"ACL failure|[Nn]o permissions|can.t run this command")
_TLS: Final = ("SSL", "TLS", "certificate")
_PASSWORD_WANTED: Final = (
    "NOAUTH",
    "Authentication required",
    "HELLO must be called with",
    "without any password",
)


class Translator:
    """Makes errors that name this address and hold none of these secrets."""

    def __init__(self, address: str, secrets: tuple[str, ...], *, tls: bool) -> None:
        self.address = address
        self._tls = tls
        self._secrets = tuple(secret for secret in secrets if secret)

    def failure(self, error: BaseException) -> Failure:
        """What an exception of the driver means."""
        if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError):
            return self.reply(_text(error), _code(error))
        if isinstance(error, exceptions.BusyLoadingError):
            return self.reply("", "LOADING")
        if isinstance(error, exceptions.RedisClusterException | exceptions.ClusterError):
            return self._cluster(_text(error))
        return self._connection(error)

    def _connection(self, error: BaseException) -> Failure:
        """A connection that could not be had, or broke."""
        told = _text(error)
        if isinstance(error, exceptions.MaxConnectionsError):
            told, again, sent = "all its client's connections are in use", True, False
        elif isinstance(error, exceptions.TimeoutError | TimeoutError):
            hint = " (TLS is asked for: does it speak TLS?)" if self._tls and "conn" in told else ""
            told, again, sent = f"no answer in time{hint}", True, True
        elif isinstance(error, ssl.SSLError) or any(sign in told for sign in _TLS):
            told, again, sent = f"TLS failed: {told}", False, False
        elif isinstance(error, exceptions.ConnectionError | OSError):
            told, again, sent = f"cannot be reached: {told or type(error).__name__}", True, True
        elif isinstance(error, AttributeError):
            told, again, sent = "the driver closed the connection while it was in use", True, True
        else:
            told, again, sent = f"unexpected {type(error).__name__} of the driver", False, True
        return Failure(StoreUnavailable(f"{self.address}: {self.scrub(told)}"), again, sent)

    def reply(self, text: str, code: str = "") -> Failure:
        """What an error that the server replied means; `code` if `text` does not begin with it."""
        found = _CODE.search(text)
        code = code or (found[1] if found else "NOPERM" if _DENIED.search(text) else "")
        said = self.scrub(_CALL.sub("", _ARGUMENTS.sub("", text))).strip()
        meaning = _CODES.get(code) or _Meaning(f"the server answered: {said}")
        key = _KEY.search(text)
        told = meaning.text.format(quoted=said, key=f" ({key[1]!r})" if key else "")
        return Failure(meaning.kind(f"{self.address}: {told}"), meaning.again, sent=False)

    def _cluster(self, text: str) -> Failure:
        """The driver's cluster errors may quote a command, so only its beginning is believed."""
        if any(sign in text for sign in ("username-password", *_PASSWORD_WANTED)):
            return self.reply(text, "NOAUTH" if "required" in text else "WRONGPASS")
        told = "the cluster cannot be reached or does not cover all slots"
        return Failure(StoreUnavailable(f"{self.address}: {told}"), again=True, sent=True)

    def scrub(self, text: str) -> str:
        """The text without any secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _text(error: BaseException) -> str:
    """The error's own text, on one line."""
    return " ".join(str(error).split())


def _code(error: BaseException) -> str:
    """The code of a reply that the driver has made a class of its own."""
    if any(sign in str(error) for sign in _PASSWORD_WANTED):
        return "NOAUTH"
    for kind, code in _CLASSES.items():
        if isinstance(error, kind):
            return code
    return ""
