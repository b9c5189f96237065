"""A process that runs one task: `python -m benchmarks.worker TASK '{"option": 1}'`.

Prints one line once it is ready, begins when a line comes in, and prints one line of results.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import peers
from benchmarks.processes import client
from benchmarks.records import key
from twitchvault import App, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALL_TIMEOUT: Final = 8.0


class VaultClient:
    """A flow on a store, with the same three methods as the peers."""

    name = "twitchvault"

    def __init__(self, client_id: str, client_secret: str, root: str, store: str | None) -> None:
        self.app = App(
            client_id,
            client_secret,
            store=store,
            maintain=False,
            id_url=f"{root}/oauth2/",
            api_url=f"{root}/helix/",
        )
        self.user_id = ""

    async def start(self, access: str, refresh: str, user_id: str) -> None:
        """Take a pair in."""
        await self.app.authorize()
        await self.app.add_user(access, refresh)
        self.user_id = user_id

    async def call(self) -> object:
        """One Helix call; whether it was answered rightly."""
        user = await self.app.get_user_by_id(self.user_id).get_user()
        return user.id == self.user_id

    async def close(self) -> None:
        """Close the flow."""
        await self.app.close()


async def status_of(call: Awaitable[object], timeout: float = CALL_TIMEOUT) -> str:
    """How a call ended: ok, failed or hung."""
    try:
        async with asyncio.timeout(timeout):
            return "ok" if await call else "failed"
    except TimeoutError:
        return "hung"
    except Exception:
        return "failed"


async def _read_line() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def _print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


async def calls(
    who: str,
    account: dict[str, str],
    count: int,
    store: str | None = None,
    spread: float = 0.0,
) -> None:
    """Make `count` Helix calls with one of the clients, at once or over `spread` seconds."""
    credentials = (account["client_id"], account["client_secret"], account["root"])
    caller: Any
    if who == VaultClient.name:
        caller = VaultClient(*credentials, store)
    else:
        caller = next(peer for peer in peers.CLIENTS if peer.name == who)(*credentials)
    await caller.start(account["access"], account["refresh"], account["user_id"])
    _print_json("ready")
    await _read_line()

    async def call(number: int) -> str:
        await asyncio.sleep(spread * number / count)
        return await status_of(caller.call())

    results = await asyncio.gather(*map(call, range(count)))
    _print_json({kind: results.count(kind) for kind in ("ok", "failed", "hung")})
    await _read_line()
    await status_of(caller.close())


async def put(path: str, number: int, value: str) -> None:
    """Write one record into a SQLite file."""
    store = open_store(f"sqlite:///{path}")
    await store.open()
    _print_json("ready")
    await _read_line()
    await store.put(key(number), value.encode())
    _print_json("written")
    await store.close()


async def follow_view(port: int, client_id: str, watched: str, until: int) -> None:
    """When the view showed each write; the access token says which one it is."""
    app = App(client_id, store=f"redis://127.0.0.1:{port}", maintain=False)
    await app.authorize()
    events = app.events()
    arrived: dict[str, int] = {}
    _print_json("ready")
    async for _ in events:
        token = app.tokens[watched][0]
        arrived.setdefault(token, time.monotonic_ns())
        if int(token) >= until:
            break
    _print_json(arrived)
    await app.close()


async def follow_stream(port: int, stream: str, until: int) -> None:
    """When XREAD returned each element of a bare stream."""
    bare = client(port)
    arrived: dict[str, int] = {}
    last: bytes | str = "0-0"
    await bare.ping()
    _print_json("ready")
    number = 0
    while number < until:
        answer = await bare.execute_command(
            "XREAD", "COUNT", 1000, "BLOCK", 2000, "STREAMS", stream, last
        )
        now = time.monotonic_ns()
        for element, number in _elements(answer):
            arrived.setdefault(str(number), now)
            last = element
    _print_json(arrived)
    await bare.aclose()


def _elements(answer: Any) -> list[tuple[bytes, int]]:  # noqa: ANN401 - it depends on the protocol
    """Ids and numbers of the elements, whichever shape the driver gives them."""
    found: list[tuple[bytes, int]] = []
    streams = answer.values() if isinstance(answer, dict) else [one[1] for one in answer or ()]
    for stream in streams:
        nested = stream and isinstance(stream[0], list) and not isinstance(stream[0][0], bytes)
        for element, fields in stream[0] if nested else stream:
            values = fields if isinstance(fields, dict) else dict(zip(*[iter(fields)] * 2))  # noqa: B905
            found.append((element, int(values[b"n"])))
    return found


TASKS: dict[str, Callable[..., Awaitable[None]]] = {
    "calls": calls,
    "put": put,
    "follow_view": follow_view,
    "follow_stream": follow_stream,
}


def main() -> int:
    """Run the task."""
    try:
        asyncio.run(_run(TASKS[sys.argv[1]], json.loads(sys.argv[2])))
    except Exception as error:
        _print_json({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


async def _run(task: Callable[..., Awaitable[None]], options: dict[str, Any]) -> None:
    await task(**options)


if __name__ == "__main__":
    sys.exit(main())
