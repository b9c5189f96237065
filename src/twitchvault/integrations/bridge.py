"""What the frameworks' modules share: checks, and the way to the vault's event loop."""

from __future__ import annotations

import asyncio
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from twitchvault.errors import NotAuthorized, TwitchVaultError, WrongEventLoop, WrongValue
from twitchvault.vault.refresh import sign_in_again

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from twitchvault.app import App
    from twitchvault.vault.events import VaultEvent

RENEWALS: Final = 3
"""Newer tokens that one call tries: other processes may have renewed too, some time ago."""
LONGEST_START: Final = 5.0
"""Seconds within which the vault's loop takes a call, unless something blocks it."""
LONGEST_CALL: Final = 300.0
_BLOCKED: Final = (
    "the event loop of authorize() does not take the call: something blocks it. "
    "Start what blocks in a thread, like 'await asyncio.to_thread(chat.start)'"
)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def check_version(distribution: str, tested: tuple[str, ...]) -> None:
    """Warn of a version whose private members may be others than those that were tested."""
    found = version(distribution)
    if found not in tested:
        known = ", ".join(tested)
        text = f"{distribution} {found} was never tested with twitchvault, which knows {known}"
        warnings.warn(text, UserWarning, stacklevel=3)


def check_client(client_id: str, app: App) -> None:
    """Raise `ValueError` unless the framework's client is the vault's."""
    if client_id != app.http.client_id:
        msg = f"the client id {client_id!r} must be that of the vault, {app.http.client_id!r}"
        raise WrongValue(msg)


async def call(
    app: App, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Await a coroutine method of the vault on the vault's loop, whichever loop runs here."""
    here, loop = asyncio.get_running_loop(), _loop_of(app)
    if loop is None or loop is here:
        return await method(*args, **kwargs)
    begun = asyncio.Event()

    async def there() -> _T:
        here.call_soon_threadsafe(begun.set)
        return await method(*args, **kwargs)

    future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))
    try:
        await asyncio.wait_for(begun.wait(), LONGEST_START)
    except TimeoutError:
        future.cancel()
        raise WrongEventLoop(_BLOCKED) from None
    return await asyncio.wait_for(future, LONGEST_CALL)


def call_soon(
    app: App, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs
) -> None:
    """Call a plain function of the vault, which changes it, on the vault's loop."""
    loop = _loop_of(app)
    if loop is None or loop is asyncio.get_running_loop():
        function(*args, **kwargs)
    else:
        loop.call_soon_threadsafe(lambda: function(*args, **kwargs))


async def renew(app: App, user_id: str, refused: str) -> str:
    """A token in place of a refused one of a user or the app; the same if it is not dead."""
    owner = app.application if user_id == app.http.client_id else app.get_user_by_id(user_id)
    if owner is None:
        raise NotAuthorized("the vault has no app token: call 'await app.authorize()' first")
    return await call(app, owner.renew, refused)


def from_vault(read: Callable[[Any], _T]) -> _T:
    """An attribute that shows what the vault has; what the framework sets has no effect."""
    return cast("_T", property(read, lambda _self, _value: None))


def token_of(app: App, owner: str) -> str:
    """The access token of a user or the app, "" if there is none.

    `AuthFailure` for one that is refused: it may be somebody else's, and whoever sends it would act
    in that name.
    """
    record = app._core.vault.record(owner) if owner in app.tokens else None  # noqa: SLF001
    if record is None:
        return ""
    if record.access_refused:
        raise sign_in_again(owner, record)
    return record.access_token


def usable_tokens(app: App) -> Mapping[str, tuple[str, str | None]]:
    """The view `tokens` of the app without those that are refused: see `token_of`."""
    if not app.needs_login:
        return app.tokens
    records = {user_id: app._core.vault.record(user_id) for user_id in app.needs_login}  # noqa: SLF001
    refused = {user_id for user_id, record in records.items() if record and record.access_refused}
    return {user_id: pair for user_id, pair in app.tokens.items() if user_id not in refused}


async def with_renewals(
    app: App,
    owner: str,
    send: Callable[[str], Awaitable[_T]],
    is_refusal: Callable[[Exception], bool],
) -> _T:
    """What sending with the owner's token comes to; a refused one is renewed.

    If no other token can be had the framework's own error stands, with the vault's as its cause;
    `AuthFailure` if that is known before.
    """
    for _ in range(RENEWALS):
        sent = token_of(app, owner)
        try:
            return await send(sent)
        except Exception as refusal:
            if not is_refusal(refusal):
                raise
            try:
                is_renewed = await renew(app, owner, sent) != sent
            except TwitchVaultError as error:
                raise refusal from error
            if not is_renewed:
                raise
    return await send(token_of(app, owner))


async def events(app: App) -> AsyncIterator[VaultEvent]:
    """The vault's events from now on, on whichever loop runs here."""
    stream, here = app.events(), asyncio.get_running_loop()
    loop = _loop_of(app) or here

    async def following() -> VaultEvent | None:
        return await anext(stream, None)

    while True:
        if loop is here:
            event = await following()
        else:
            event = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(following(), loop))
        if event is None:
            return
        yield event


def _loop_of(app: App) -> asyncio.AbstractEventLoop | None:
    return app._binding.loop  # noqa: SLF001 - not public, as everybody else has a loop of their own
