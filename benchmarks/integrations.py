"""Frameworks on one expired token, with their own refresh and with the vault's.

    python -m benchmarks.integrations

Four processes make 50 calls each, spread over 0.6 seconds. What a framework leaves hanging after
ten seconds counts as hanging. Frameworks that are not installed are left out.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partialmethod
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers import TwitchAPI, TwitchIO, module
from twitchvault import App
from twitchvault.testing import FakeTwitchProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PROCESSES: Final = 4
CALLS: Final = 50
SPREAD: Final = 0.6
HANGING: Final = 10.0
MODULES: Final = {"twitchio": "twitchio", "pytwitchapi": "twitchAPI", "twitchpy": "twitch"}
KINDS: Final[dict[str, dict[str, Any]]] = {
    "public": {"public": True},
    "confidential, same": {"confidential_refresh": "same"},
    "confidential, rotate": {"confidential_refresh": "rotate"},
}


@dataclass(frozen=True)
class Outcome:
    """What came of one storm."""

    exchanges: int
    replays: int
    good: int
    failed: int
    hanging: int

    def __str__(self) -> str:
        calls = f"{self.good} | {self.failed} | {self.hanging}"
        return f"{self.exchanges} | {self.replays} | {calls}"


def installed() -> list[str]:
    """The frameworks that can be measured here."""
    return [name for name, each in MODULES.items() if importlib.util.find_spec(each)]


async def storm(
    framework: str, kind: str, *, vaulted: bool, processes: int = PROCESSES, calls: int = CALLS
) -> Outcome:
    """All processes at once on one expired token."""
    async with FakeTwitchProcess(seed=7) as twitch:
        await twitch.configure(helix_limit=1_000_000)
        client = await twitch.register_client(**KINDS[kind])
        user = await twitch.add_user("alice")
        pair = await twitch.issue(client, user, ["chat:read"])
        with tempfile.TemporaryDirectory() as folder:
            job = {
                "framework": framework, "vaulted": vaulted, "calls": calls, "root": twitch.url,
                "client": (client.client_id, client.client_secret), "user_id": user.user_id,
                "pair": (pair.access_token, pair.refresh_token),
                "store": f"sqlite:///{folder}/tokens.db",
            }  # fmt: skip
            workers = [await _spawn(job) for _ in range(processes)]
            await twitch.expire_access(user.user_id)
            answers = await asyncio.gather(*map(_run, workers))
        counts = await twitch.counts()
    sums = [sum(answer[what] for answer in answers) for what in ("good", "failed", "hanging")]
    return Outcome(counts.exchanges, counts.replays, *sums)


async def _spawn(job: dict[str, Any]) -> asyncio.subprocess.Process:
    # What a framework leaves open is not what is measured here.
    pipe, quiet = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.integrations", json.dumps(job)]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=quiet)
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def _run(process: asyncio.subprocess.Process) -> dict[str, int]:
    out, _ = await process.communicate(b"go\n")
    answer: dict[str, int] = json.loads(out)
    return answer


# A process


async def _work(job: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        call = await stack.enter_async_context(_caller(job))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        tasks = [asyncio.create_task(_after(call, SPREAD * n / job["calls"]))
                 for n in range(job["calls"])]  # fmt: skip
        done, hanging = await asyncio.wait(tasks, timeout=HANGING)
        good = sum(task.exception() is None and bool(task.result()) for task in done)
        for task in hanging:
            task.cancel()
        print(json.dumps({"good": good, "failed": len(done) - good, "hanging": len(hanging)}))


async def _after(call: Callable[[], Awaitable[object]], seconds: float) -> object:
    await asyncio.sleep(seconds)
    return await call()


@asynccontextmanager
async def _caller(job: dict[str, Any]) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    maker = _vaulted if job["vaulted"] else _native
    async with maker(job) as call:
        yield call


@asynccontextmanager
async def _native(job: dict[str, Any]) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    client_id, client_secret = job["client"]
    if job["framework"] == "twitchpy":
        client = _twitchpy(job, "ClientUser")
        await client.authorize()
        user = await client.add_user(*job["pair"])
        yield lambda: user.get_users(user_ids={job["user_id"]})
        return
    kind: Any = TwitchIO if job["framework"] == "twitchio" else TwitchAPI
    if job["framework"] == "twitchio" and client_secret is None:
        # Without a secret its login wants an app token, which is never sent here.
        module("twitchio").Client.login = partialmethod(
            module("twitchio").Client.login, token="unused"
        )
    peer: Any = kind(client_id, client_secret, job["root"])
    await peer.start(*job["pair"], job["user_id"])
    yield peer.call
    await peer.close()


@asynccontextmanager
async def _vaulted(job: dict[str, Any]) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    root = job["root"]
    urls: dict[str, Any] = {"id_url": f"{root}/oauth2/", "api_url": f"{root}/helix/"}
    async with App(*job["client"], store=job["store"], maintain=False, **urls) as app:
        await app.add_user(*job["pair"])
        yield await getattr(sys.modules[__name__], f"_{job['framework']}_calls")(app, job)


async def _twitchio_calls(app: App, job: dict[str, Any]) -> Callable[[], Awaitable[object]]:
    from twitchvault.integrations.twitchio import bind  # noqa: PLC0415 - it may not be there

    http, user_id = module("twitchio.http"), job["user_id"]
    http.Route.BASE, http.Route.ID_BASE = f"{job['root']}/helix/", f"{job['root']}/"
    client_id, secret = job["client"]
    options = {"bot_id": user_id, "fetch_client_user": False}
    client = module("twitchio").Client(client_id=client_id, client_secret=secret, **options)
    bind(client, app)
    if secret:
        await client.login(load_tokens=False)
    else:
        await client.login_dcf(load_token=False)
        await client.start_dcf(block=False)
    return lambda: client.fetch_users(ids=[user_id], token_for=user_id)


async def _pytwitchapi_calls(app: App, job: dict[str, Any]) -> Callable[[], Awaitable[object]]:
    from twitchvault.integrations.pytwitchapi import VaultTwitch  # noqa: PLC0415

    first = module("twitchAPI.helper").first
    twitch = await VaultTwitch(app, job["user_id"], [])
    return lambda: first(twitch.get_users())


async def _twitchpy_calls(app: App, job: dict[str, Any]) -> Callable[[], Awaitable[object]]:
    from twitchvault.integrations.twitchpy import bind  # noqa: PLC0415

    client = _twitchpy(job, "ClientUser")
    bind(client, app)
    await client.authorize()
    user = client.get_user_by_id(job["user_id"])
    return lambda: user.get_users(user_ids={job["user_id"]})


def _twitchpy(job: dict[str, Any], name: str) -> Any:  # noqa: ANN401
    route = module("twitch.http").Route
    route.BASE, route.OAUTH2 = f"{job['root']}/helix/", f"{job['root']}/oauth2/"
    return getattr(module("twitch.eventsub"), name)(*job["client"])


async def main() -> None:
    """Print the table of all frameworks here."""
    print("| framework | client | refreshed by | exchanges | replays | good | failed | hanging |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for framework in installed():
        for kind in KINDS:
            if framework == "twitchpy" and kind == "public":
                continue
            for vaulted in (False, True):
                outcome = await storm(framework, kind, vaulted=vaulted)
                who = "the vault" if vaulted else "itself"
                print(f"| {framework} | {kind} | {who} | {outcome} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main() if len(sys.argv) == 1 else _work(json.loads(sys.argv[1])))
