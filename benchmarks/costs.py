"""What an open flow costs: memory, holding the loop, the import, and each Helix call."""

from __future__ import annotations

import asyncio
import compileall
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from cryptography.fernet import Fernet

import twitchvault
from benchmarks.footprint import (
    BYTES_PER_USER,
    KINDS,
    LONGEST_HOLD_MS,
    in_fresh_process,
    prepare,
)
from benchmarks.runner import Candidate, Line, Plan, Result, expect, measure
from benchmarks.storms import Environment, clients, credentials, environment
from benchmarks.worker import VaultClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.runner import Role

IMPORT: Final = "import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
CALL: Final = "twitchvault, get('users')"
BASE: Final = "import aiohttp, pydantic; M = pydantic.create_model('M', id=(str, ...)); M(id='1')"
IMPORTS: Final[tuple[tuple[str, Role, str], ...]] = (
    ("import twitchvault", "ours", "import twitchvault"),
    ("import aiohttp, pydantic; a BaseModel", "limit", BASE),
    ("import twitchio", "peer", "import twitchio"),
    ("import twitchAPI.twitch", "peer", "import twitchAPI.twitch"),
)


class _Plain(VaultClient):
    """A call that gives back the JSON, as the bare one does."""

    def __init__(self, account: dict[str, str]) -> None:
        super().__init__(*credentials(account), None)

    async def call(self) -> object:
        """One Helix call; whether it was answered rightly."""
        answer = await self.app.get_user_by_id(self.user_id).get("users")
        return answer["data"][0]["id"] == self.user_id


async def memory(plan: Plan) -> list[Result]:
    """Resident memory of an open flow, by user, in a fresh process."""
    users = max(size for size in plan.sizes if size <= 100_000)
    result = Result("memory", f"resident memory of an open flow, by user, {users:,} users")
    for label, old_tokens in (("after a login", 0), ("after weeks", 16)):
        url = f"sqlite:///{plan.folder / f'memory-{old_tokens}.db'}"
        await prepare(url, users, old_tokens)
        line = Line(f"records as they are {label}", "ours", unit="B")
        for _ in range(plan.rounds(3)):
            figures = await asyncio.to_thread(in_fresh_process, url, users, watch=False)
            line.samples.append(figures["bytes_per_user"])
        result.lines.append(line)
        most = BYTES_PER_USER[label]
        found = f"{line.median:,.0f} bytes"
        result.require(f"{label}: ≤ {most:,} bytes", found, passed=line.median <= most)
    return [result]


async def hold(plan: Plan) -> list[Result]:
    """The longest time that the loop is held while a flow opens and reads all, in a new process."""
    users = max(size for size in plan.sizes if size <= 100_000)
    result = Result("hold", f"the loop held at a stretch while opening on {users:,} users, SQLite")
    for label, old_tokens in KINDS.items():
        secret = Fernet.generate_key().decode() if label == "encrypted" else ""
        url = f"sqlite:///{plan.folder / f'hold-{label}.db'}"
        await prepare(url, users, old_tokens, secret)
        line = Line(f"records {label}", "ours")
        for _ in range(plan.rounds(5)):
            figures = await asyncio.to_thread(
                in_fresh_process, url, users, watch=True, secret=secret
            )
            line.samples.append(figures["hold_ms"] / 1000)
        result.lines.append(line)
        found = line.median * 1000
        expected = f"{label}: ≤ {LONGEST_HOLD_MS:g} ms"
        result.require(expected, f"{found:.1f} ms", passed=found <= LONGEST_HOLD_MS)
    return [result]


async def imports(plan: Plan) -> list[Result]:
    """Seconds of the import statement in a fresh interpreter, from bytecode as pip leaves it."""
    result = Result("import", "import, in a fresh interpreter")
    await asyncio.to_thread(compileall.compile_dir, Path(twitchvault.__file__).parent, quiet=1)
    candidates = [Candidate(who, role, _importing(code)) for who, role, code in IMPORTS]
    await measure(result, candidates, plan.rounds(15))
    result.require_ratio("import twitchvault", 1.1, "aiohttp, pydantic")
    return [result]


def _importing(code: str) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        command = [sys.executable, "-c", IMPORT.format(code=code)]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ImportError(done.stderr.strip().splitlines()[-1])
        return float(done.stdout)

    return run


async def helix(plan: Plan) -> list[Result]:
    """One Helix call after another on a token that is good."""
    count = plan.count(200)
    result = Result("helix", "one Helix call, by the double")
    async with environment() as env:
        account = await env.account()
        candidates = [
            Candidate("bare aiohttp call", "limit", _bare(env, account, count)),
            Candidate(CALL, "ours", _calls(_Plain, account, count)),
        ]
        for who, role, make in clients(result):
            candidates.append(Candidate(who, role, _calls(make, account, count)))
        await measure(result, candidates, plan.rounds(9))
    result.line(
        VaultClient.name
    ).note = "get_user(): a model is made of the answer, as by the peers"
    result.require_ratio(CALL, 1.25, "a bare aiohttp call")
    return [result]


def _bare(env: Environment, account: dict[str, str], count: int) -> Callable[[], Awaitable[float]]:
    headers = {"Authorization": f"Bearer {account['access']}", "Client-Id": account["client_id"]}
    url = f"{env.twitch.api_url}users"

    async def run() -> float:
        async with aiohttp.ClientSession() as session:

            async def call() -> bool:
                async with session.get(url, headers=headers) as answer:
                    return bool((await answer.json())["data"][0]["id"] == account["user_id"])

            return await _timed(call, count)

    return run


def _calls(
    make: Callable[[dict[str, str]], Any], account: dict[str, str], count: int
) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        caller = make(account)
        await caller.start(account["access"], account["refresh"], account["user_id"])
        try:
            return await _timed(caller.call, count)
        finally:
            await caller.close()

    return run


async def _timed(call: Callable[[], Awaitable[object]], count: int) -> float:
    expect(await call(), "a call got a wrong answer")
    began = time.perf_counter()
    for _ in range(count):
        right = await call()
    took = (time.perf_counter() - began) / count
    expect(right, "a call got a wrong answer")
    return took
