"""One of the four processes: it opens the store, and calls Twitch in the name of both users.

Its orders come as one JSON line on stdin; it ends when stdin closes. Its reports go as JSON lines
to stdout.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from twitchvault.app import App
from twitchvault.errors import TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault.helix import UserAPI
    from twitchvault.vault.events import VaultEvent

__all__ = ["Orders", "Report", "fingerprint"]

TASKS: Final = 3
"""Tasks that call at the same time, for each user."""
PAUSE: Final = (0.1, 0.2)
REPORT_EVERY: Final = 0.1
LAST_CALL: Final = 20
"""Seconds to the end of a process whose parent is gone, whatever holds it up."""
MARK_LENGTH: Final = 8


@dataclass(frozen=True)
class Orders:
    """What a bot is told."""

    client_id: str
    client_secret: str = field(repr=False)
    id_url: str
    api_url: str
    store: str
    users: tuple[str, ...]


@dataclass
class Report:
    """What a bot tells: its calls, its refreshes, and its own view of each user's token."""

    calls: int = 0
    failed: int = 0
    refreshed: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


def fingerprint(token: str) -> str:
    """Eight characters of its SHA-256: enough to tell tokens apart, useless to whoever reads it."""
    return hashlib.sha256(token.encode()).hexdigest()[:MARK_LENGTH]


class Bot:
    """Works until stdin closes; a call that is under way is finished."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._report = Report()
        self._stopping = asyncio.Event()

    async def work(self, stdin: asyncio.StreamReader) -> None:
        """Call, and report, until stdin closes."""
        orders = self._orders
        app = App(
            orders.client_id,
            orders.client_secret,
            store=orders.store,
            id_url=orders.id_url,
            api_url=orders.api_url,
        )
        # The stream of events ends when the app is closed, so that no refresh goes uncounted.
        async with asyncio.TaskGroup() as outer, app:
            outer.create_task(self._count(app.events()))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(self._report_now_and_then(app))
                for user_id in orders.users:
                    for _ in range(TASKS):
                        inner.create_task(self._call_on(app.get_user_by_id(user_id)))
                await stdin.read()
                signal.alarm(LAST_CALL)
                self._stopping.set()
        self._tell()

    async def _call_on(self, user: UserAPI) -> None:
        while not self._stopping.is_set():
            await self._call(user)
            await asyncio.sleep(random.uniform(*PAUSE))  # noqa: S311

    async def _call(self, user: UserAPI) -> None:
        self._report.calls += 1
        try:
            answer = await user.get_user()
        except TwitchVaultError as error:
            self._fail(f"{type(error).__name__}: {error}")
        else:
            if answer.id != user.user_id:
                self._fail(f"asked as user {user.user_id}, answered for {answer.id}")

    def _fail(self, trouble: str) -> None:
        self._report.failed += 1
        self._report.trouble = trouble

    async def _count(self, events: AsyncIterator[VaultEvent]) -> None:
        async for event in events:
            if event.kind == "refreshed" and event.origin == "local":
                self._report.refreshed += 1

    async def _report_now_and_then(self, app: App) -> None:
        while not self._stopping.is_set():
            for user_id in self._orders.users:
                self._report.tokens[user_id] = fingerprint(app.tokens[user_id][0])
            self._tell()
            await asyncio.sleep(REPORT_EVERY)

    def _tell(self) -> None:
        sys.stdout.write(json.dumps(asdict(self._report)) + "\n")
        sys.stdout.flush()


async def _run() -> None:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin
    )
    orders = json.loads(await stdin.readline())
    await Bot(Orders(**orders)).work(stdin)


def main() -> None:
    """Work; Ctrl-C is for the parent, which then ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trouble = ""
    try:
        asyncio.run(_run())
    except* TwitchVaultError as group:
        trouble = "; ".join(str(error) for error in group.exceptions)
    if trouble:
        sys.exit(trouble)


if __name__ == "__main__":
    main()
