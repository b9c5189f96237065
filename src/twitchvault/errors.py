"""Every exception that a caller of twitchvault can see.

    TwitchVaultError
    ├── HTTPException            an answer we did not want, or no answer (status 0)
    │   ├── BadRequest           400
    │   ├── Unauthorized         401
    │   ├── Forbidden            403
    │   ├── NotFound             404
    │   ├── Conflict             409
    │   ├── RateLimited          429
    │   ├── TwitchServerError    5xx
    │   └── NoAnswer             no usable answer arrived; `sent` says whether the request left
    ├── ClientException          the call cannot be carried out
    │   ├── AuthFailure          the user has to sign in again
    │   ├── TokenError           no such token here
    │   │   └── NotAuthorized    authorize() comes first; also an IndexError
    │   └── WrongEventLoop       called on another event loop; also a RuntimeError
    └── StoreError               the token store
        ├── StoreUnavailable     cannot be reached or written just now; nothing is lost
        ├── VersionConflict      compare-and-set: the key stands at another version
        ├── CorruptRecord        bytes are there, but they cannot be read
        └── DecryptionError      bytes are there, but no key of ours opens them

A missing driver is a `MissingDriver`: a `StoreError` and an `ImportError`, naming the extra.
`TwitchException` is another name of `TwitchVaultError`.
No message, cause or repr of any of them holds a token, a secret or a key, and their tracebacks show
no frame of ours: see `scrub_traceback`.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "AuthFailure",
    "BadRequest",
    "ClientException",
    "Conflict",
    "CorruptRecord",
    "DecryptionError",
    "Forbidden",
    "HTTPException",
    "MissingDriver",
    "NoAnswer",
    "NotAuthorized",
    "NotFound",
    "RateLimited",
    "StoreError",
    "StoreUnavailable",
    "TokenError",
    "TwitchException",
    "TwitchServerError",
    "TwitchVaultError",
    "Unauthorized",
    "VersionConflict",
    "WrongEventLoop",
]


_P = ParamSpec("_P")
_T = TypeVar("_T")


class TwitchVaultError(Exception):
    """The root of all errors of this library: catch it to catch them all."""


TwitchException = TwitchVaultError


class HTTPException(TwitchVaultError):
    """An HTTP answer that is not the one wanted, or no usable answer at all.

    `status` is the HTTP status, 0 when no answer arrived (connection refused, timeout).
    `message` (or `text`) is the service's own text, with any secret of ours cut out; it may be
    empty. `headers` are the answer's headers, read-only; upper and lower case do not matter.
    `error_code` is the error code of RFC 6749 or RFC 8628 that a JSON body states, like
    "invalid_grant", also where Twitch puts it in words; "" if there is none.
    """

    def __init__(
        self, status: int, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers: Mapping[str, str] = CIMultiDictProxy(CIMultiDict(headers or {}))
        self.error_code = ""

    def __str__(self) -> str:
        text = self.message or "the answer carries no message"
        return f"{self.status}: {text}" if self.status else text

    @property
    def text(self) -> str:
        """The same as `message`."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.status, self.message, dict(self.headers))
        return type(self), arguments, {"error_code": self.error_code}


class BadRequest(HTTPException):
    """400: a parameter is missing or wrong, or a code or refresh token is no longer good."""


class Unauthorized(HTTPException):
    """401: the token is invalid, expired, revoked, or lacks a scope."""


class Forbidden(HTTPException):
    """403: not allowed; on the identity service it means a wrong client secret."""


class NotFound(HTTPException):
    """404: no such resource, or (when revoking) no such client."""


class Conflict(HTTPException):
    """409: it exists already, or the state does not allow it."""


class RateLimited(HTTPException):
    """429: too many requests; see `headers` for Ratelimit-Reset where Twitch sends it."""


class TwitchServerError(HTTPException):
    """5xx: a failure at Twitch's side."""


class NoAnswer(HTTPException):
    """No usable answer arrived: refused, timed out, cut off, or too large. `status` is 0.

    `sent` False proves that no byte of the request's body left, so that repeating it is safe.
    True means that the service may have acted on it; so it is for a request without a body.
    `too_late` True: nothing was sent because `may_send` returned False.
    """

    def __init__(self, message: str, *, sent: bool = True, too_late: bool = False) -> None:
        super().__init__(0, message)
        self.sent = sent
        self.too_late = too_late

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), sent=self.sent, too_late=self.too_late), (self.message,)


class ClientException(TwitchVaultError):
    """The call cannot be carried out in the state things are in."""


class AuthFailure(ClientException):
    """The tokens of this user do not work any more: the user has to sign in again."""


class TokenError(ClientException):
    """There is no token for what was asked."""


class NotAuthorized(TokenError, IndexError):
    """The app has no token yet: call `authorize()` first."""


class WrongEventLoop(ClientException, RuntimeError):
    """The flow belongs to another event loop, or no asyncio event loop runs. Nothing was sent."""


class StoreError(TwitchVaultError):
    """Something about the token store."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or written just now. Nothing was lost; try again."""


class VersionConflict(StoreError):
    """A compare-and-set found the key at another version; nothing was written.

    `expected` is what the caller named; `found` is the version in the store, 0 when absent.
    """

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(key, expected, found)
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        expected, found = (f"version {n}" if n else "no entry" for n in (self.expected, self.found))
        return f"key {self.key!r}: expected {expected}, found {found}"


class CorruptRecord(StoreError):
    """Bytes are in the store but cannot be read: damaged, or written by a newer version."""


class DecryptionError(StoreError):
    """Bytes are in the store but none of the keys opens them, or they belong to another key."""


class MissingDriver(StoreError, ImportError):
    """A backend's driver is not installed; the message names the extra to install."""


class WrongType(TypeError):
    """A `TypeError` raised on purpose, for an argument: it shows no frame of ours either."""


class WrongValue(ValueError):
    """A `ValueError` raised on purpose, for an argument: it shows no frame of ours either."""


_BY_STATUS: Final[dict[int, type[HTTPException]]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden,
    404: NotFound, 409: Conflict, 429: RateLimited,
}  # fmt: skip


def http_error(
    status: int, message: str = "", headers: Mapping[str, str] | None = None
) -> HTTPException:
    """The exception that stands for an HTTP status; unknown ones are a plain HTTPException."""
    if 500 <= status < 600:  # noqa: PLR2004
        return TwitchServerError(status, message, headers)
    return _BY_STATUS.get(status, HTTPException)(status, message, headers)


_Error = TypeVar("_Error", bound=TwitchVaultError)


def fresh_copy(error: _Error) -> _Error:
    """A copy of an error that is raised more than once, without its former callers' frames."""
    try:
        return copy.copy(error)
    except TypeError:  # a subclass of the caller's, whose constructor takes other arguments
        return error.with_traceback(None)


def scrub_traceback(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """For public functions: an expected error leaves without the frames it was raised in.

    The local variables of those frames are tokens and keys, which debuggers, rich and error
    trackers show; causes and contexts have such frames too, or quote what they were given.
    Expected are our own errors, `TimeoutError`, `CancelledError`, and the `TypeError` of a call
    that does not fit the function. Every other error is a bug and keeps its traceback.
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: _P.args, **kwargs: _P.kwargs) -> Any:  # noqa: ANN401
            try:
                return await function(*args, **kwargs)
            except _EXPECTED as error:
                failure = error
            del args, kwargs
            raise _without_frames(failure)

        return cast("Callable[_P, _T]", awaited)

    @wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        failure: BaseException
        try:
            return function(*args, **kwargs)
        except _EXPECTED as error:
            failure = error
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            failure = error  # the function was not entered: the arguments do not fit
        del args, kwargs
        raise _without_frames(failure)

    return called


_EXPECTED: Final = (TwitchVaultError, WrongType, WrongValue, TimeoutError, asyncio.CancelledError)


def _without_frames(error: BaseException) -> BaseException:
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = False  # raising it adds the error that the caller is handling
    return error.with_traceback(None)
