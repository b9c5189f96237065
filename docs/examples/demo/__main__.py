"""`make demo`, or `python -m docs.examples.demo`: the exit code is 0 if every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import secrets
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import aiohttp

from docs.examples.demo.store import store_url
from docs.examples.demo.worker import Report, fingerprint
from twitchvault.oauth import AuthorizationCodeGrantFlow, DeviceCodeFlow
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterable, Mapping

    from twitchvault.testing.fake import Client, Counts, User

PROCESSES: Final = 4
SECONDS: Final = 20.0
PATIENCE: Final = 20.0
CALLBACK: Final = "http://localhost:3000/callback"
SCOPES: Final = ("user:read:chat", "user:write:chat")


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Twitch(NamedTuple):
    """The double, the application registered there, and its two users."""

    server: FakeTwitch
    client: Client
    users: tuple[User, User]

    @classmethod
    def prepare(cls, server: FakeTwitch) -> Self:
        """Register all; alice approves after a moment, bob has consented already.

        The application is punished for a replay as a public client is: it loses the user.
        """
        client = server.register_client(redirect_uris=[CALLBACK], punish_replay=True)
        alice, bob = server.add_user("alice"), server.add_user("bob")
        server.auto_approve(alice, after=2)
        server.auto_consent(bob)
        return cls(server, client, (alice, bob))

    def environment(self, store: str) -> dict[str, str]:
        """The settings of a process that uses the application."""
        assert self.client.client_secret is not None
        return {
            "TWITCHVAULT_CLIENT_ID": self.client.client_id,
            "TWITCHVAULT_CLIENT_SECRET": self.client.client_secret,
            "TWITCHVAULT_STORE": store,
            "TWITCHVAULT_ID_URL": self.server.id_url,
            "TWITCHVAULT_API_URL": self.server.api_url,
        }


class Worker:
    """One of the processes, and its latest report."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self.report = Report()
        self._process = process

    @classmethod
    async def start(cls, number: int, environment: Mapping[str, str]) -> Self:
        """Start the process."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "docs.examples.demo.worker",
            stdin=pipe,
            stdout=pipe,
            env={**os.environ, **environment},
        )
        say(f"process {number} runs, pid {process.pid}")
        return cls(number, process)

    async def listen(self) -> None:
        """Take its reports until it ends; `DemoError` if it ends badly."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.report = Report(**json.loads(line))
        if code := await self._process.wait():
            raise DemoError(f"process {self.number} ended with code {code}")

    def stop(self) -> None:
        """Let it finish its calls and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def kill(self) -> None:
        """End it at once, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def sign_in(twitch: Twitch, store: str) -> None:
    """Sign alice in by device code and bob by authorization code."""
    async with DeviceCodeFlow(
        twitch.client.client_id,
        twitch.client.client_secret,
        store=store,
        id_url=twitch.server.id_url,
        api_url=twitch.server.api_url,
    ) as device_flow:
        code = await device_flow.request_device_code(SCOPES)
        say(f"alice signs in by device code: she opens {code.verification_uri}")
        say(f"  and checks that it shows {code.user_code} ...")
        token = await device_flow.wait_for_device_token(code.device_code, code.interval)
        user = await device_flow.add_user(token.access_token, token.refresh_token)
        say(f"  {user.login} has approved {' and '.join(user.scopes)}")

        code_flow = AuthorizationCodeGrantFlow.from_app(device_flow)
        state = secrets.token_urlsafe()
        address = code_flow.get_authorization_url(CALLBACK, SCOPES, state)
        say(f"bob signs in by authorization code: he goes to {address.partition('?')[0]}?...")
        answer = await browse(address)
        if not secrets.compare_digest(answer["state"], state):
            raise DemoError("the browser came back with another state than it left with")
        token = await code_flow.get_authorization_token(answer["code"], CALLBACK)
        user = await code_flow.add_user(token.access_token, token.refresh_token)
        say(f"  and comes back to {CALLBACK}?code=...&state=..., signed in as {user.login}")


async def browse(address: str) -> dict[str, str]:
    """Open the address as bob's browser does; the query of where Twitch sends it back to."""
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(address, allow_redirects=False) as response,
    ):
        query = urlsplit(response.headers["Location"]).query
    return {name: values[0] for name, values in parse_qs(query).items()}


async def expire_tokens(twitch: Twitch, workers: list[Worker], seconds: float) -> int:
    """Let one token after the other expire for so many seconds; how many.

    Each lives on for a second after all processes have seen it. By the clock alone a token could
    expire before its first use on a machine that stalls.
    """
    for user in twitch.users:
        await wait_for_new_token(twitch, user, "", workers)
    count = 0
    end = time.monotonic() + seconds
    for user in itertools.cycle(twitch.users):
        await asyncio.sleep(1)
        if count and time.monotonic() > end:
            break
        old = newest_token(twitch, user)
        exchanges = twitch.server.counts.exchanges
        count += twitch.server.expire_access(user)
        new = await wait_for_new_token(twitch, user, old, workers)
        exchanges = twitch.server.counts.exchanges - exchanges
        say(f"  {user.login}'s token {old} has expired; exchanges: {exchanges}; all use {new}")
    return count


def newest_token(twitch: Twitch, user: User) -> str:
    """The fingerprint of the user's newest access token."""
    pair = twitch.server.live_pair(twitch.client, user)
    if pair is None:
        raise DemoError(f"Twitch cut {user.login} off: a spent refresh token was presented")
    return fingerprint(pair.access_token)


async def wait_for_new_token(
    twitch: Twitch, user: User, old: str, workers: Iterable[Worker]
) -> str:
    """Wait until all processes see a newer access token than `old`; its fingerprint."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        new = newest_token(twitch, user)
        seen = {worker.report.tokens.get(user.user_id) for worker in workers}
        if new != old and seen == {new}:
            return new
        await asyncio.sleep(0.02)
    errors = "; ".join(worker.report.error for worker in workers if worker.report.error)
    raise DemoError(f"no new token of {user.login} in all processes after 20 s. {errors}")


async def run_workers(twitch: Twitch, store: str, seconds: float) -> tuple[int, list[Report]]:
    """Run the processes while tokens expire; how many did, and the last reports."""
    workers: list[Worker] = []
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(1, PROCESSES + 1):
                workers.append(await Worker.start(number, twitch.environment(store)))
                group.create_task(workers[-1].listen())
            expired = await expire_tokens(twitch, workers, seconds)
            for worker in workers:
                worker.stop()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await asyncio.gather(*(worker.kill() for worker in workers))
    return expired, [worker.report for worker in workers]


def verdict(expired: int, counts: Counts, reports: list[Report]) -> list[tuple[bool, str]]:
    """Each promise: whether it was kept, and the numbers that say so."""
    calls, failed = sum(r.calls for r in reports), sum(r.failed for r in reports)
    refreshes = [report.refreshes for report in reports]
    errors = "; ".join(sorted({report.error for report in reports if report.error}))
    return [
        (
            0 < expired == counts.expiries == counts.exchanges,
            f"{expired} expired tokens, {counts.exchanges} exchanges: one for each",
        ),
        (
            counts.replays == counts.refused_refreshes == 0,
            f"{counts.replays} replays: exchanged refresh tokens that were sent again",
        ),
        (
            sum(refreshes) == counts.exchanges,
            f"{' + '.join(map(str, refreshes))} = {sum(refreshes)} refreshes by the processes",
        ),
        (
            failed == 0 and all(report.calls for report in reports),
            f"{calls} calls, {failed} failed {errors}".rstrip(),
        ),
    ]


async def demo(store_kind: str, seconds: float, folder: Path) -> bool:
    """Run it all; True if every promise was kept."""
    say("A fake server of Twitch and a store start on this machine; nothing leaves it.")
    async with (
        store_url(store_kind, folder) as store,
        FakeTwitch(device_interval=1, helix_limit=1_000_000) as server,
    ):
        twitch = Twitch.prepare(server)
        await sign_in(twitch, store)
        say(f"Four processes share {store.partition('?')[0]} and nothing else;")
        say("  each calls the fake server for both users, some 40 times a second.")
        say("A token is named by its fingerprint, the first digits of its SHA-256.")
        expired, reports = await run_workers(twitch, store, seconds)
        found = verdict(expired, server.counts, reports)
    say("What the fake server and the processes have counted:")
    for good, text in found:
        say(f"  {'ok' if good else 'NO'}  {text}")
    return all(good for good, _ in found)


def main() -> int:
    """Parse the command line and run the demo."""
    parser = argparse.ArgumentParser(prog="python -m docs.examples.demo", description=__doc__)
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "redis"])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long tokens expire")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="twitchvault-demo-") as folder:
            done = asyncio.run(demo(arguments.store, arguments.seconds, Path(folder)))
        return 0 if done else 1
    except DemoError as error:
        sys.stderr.write(f"The demo cannot go on: {error}\n")
        return 2
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
