"""One process of the demo: a bot that calls Twitch for all users in the store.

It takes its settings from the environment, works until its standard input is closed, and prints a
report as one JSON line ten times a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from twitchvault import App, TwitchVaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twitchvault import UserAPI, VaultEvent

TASKS_PER_USER: Final = 3
PAUSE: Final = (0.1, 0.2)
REPORT_EVERY: Final = 0.1


@dataclass
class Report:
    """What this process has done, and which access token it sees for each user."""

    calls: int = 0
    failed: int = 0
    refreshes: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    error: str = ""

    def send(self) -> None:
        """Print it."""
        sys.stdout.write(json.dumps(asdict(self)) + "\n")
        sys.stdout.flush()


def fingerprint(token: str) -> str:
    """Enough of a token's SHA-256 to compare tokens by; it does not give the token away."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


async def work() -> None:
    """Call and report until standard input is closed; calls under way are finished."""
    report, stop = Report(), asyncio.Event()
    app = App(
        os.environ["TWITCHVAULT_CLIENT_ID"],
        os.environ["TWITCHVAULT_CLIENT_SECRET"],
        store=os.environ["TWITCHVAULT_STORE"],
        id_url=os.environ["TWITCHVAULT_ID_URL"],
        api_url=os.environ["TWITCHVAULT_API_URL"],
    )
    # The counting task ends when the app is closed, so it counts the last refresh as well.
    async with asyncio.TaskGroup() as counting, app:
        counting.create_task(count_refreshes(app.events(), report))
        async with asyncio.TaskGroup() as group:
            group.create_task(report_regularly(app, report, stop))
            for user_id in app.users_scopes:
                for _ in range(TASKS_PER_USER):
                    group.create_task(call_regularly(app.get_user_by_id(user_id), report, stop))
            await asyncio.to_thread(sys.stdin.read)
            stop.set()
    report.send()


async def count_refreshes(events: AsyncIterator[VaultEvent], report: Report) -> None:
    """Count the refreshes that this process has done itself."""
    async for event in events:
        report.refreshes += event.kind == "refreshed" and event.origin == "local"


async def report_regularly(app: App, report: Report, stop: asyncio.Event) -> None:
    """Send a report ten times a second."""
    while not stop.is_set():
        for user_id in app.users_scopes:
            report.tokens[user_id] = fingerprint(app.tokens[user_id][0])
        report.send()
        await asyncio.sleep(REPORT_EVERY)


async def call_regularly(user: UserAPI, report: Report, stop: asyncio.Event) -> None:
    """Ask Twitch who the user is, again and again."""
    while not stop.is_set():
        report.calls += 1
        try:
            answer = await user.get_user()
            if answer.id != user.user_id:
                raise TwitchVaultError(f"asked as {user.user_id}, answered for {answer.id}")
        except TwitchVaultError as error:
            report.failed += 1
            report.error = f"{type(error).__name__}: {error}"
        await asyncio.sleep(random.uniform(*PAUSE))  # noqa: S311


if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal; this one ends when its parent closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(work())
