"""Processes, and the commands that a test sends them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.environment import PATIENCE, REFRESH
from tests.processes import worker
from tests.spawning import fork
from twitchvault import App

if TYPE_CHECKING:
    import signal
    from asyncio import StreamReader, StreamWriter
    from multiprocessing.context import ForkServerProcess

    from twitchvault.testing import RemoteTwitch
    from twitchvault.testing.fake import Client, Counts, Pair
    from twitchvault.testing.fake.process import RemoteGate


class WorkerError(Exception):
    """A command failed in the process: `kind` is the error's class there."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Worker:
    """One process with one flow. Its commands are the methods of `worker.Bot` and of `App`."""

    def __init__(
        self, process: ForkServerProcess, reader: StreamReader, writer: StreamWriter
    ) -> None:
        self._process = process
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def spawn(cls) -> Worker:
        """Start a process; it does nothing yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = fork(worker.live, theirs)
        return cls(process, *await asyncio.open_connection(sock=ours))

    def login(self, pair: Pair) -> asyncio.Future[str]:
        """`add_user` of a pair: the user's id."""
        tokens = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
        return self.begin("add_user", **tokens)

    async def do(self, command: str, *, timeout: float = 3 * PATIENCE, **options: Any) -> Any:  # noqa: ANN401
        """Carry a command out; `WorkerError` if it failed there, TimeoutError if it hangs."""
        future = self.begin(command, **options)
        async with asyncio.timeout(timeout):
            return await future

    def begin(self, command: str, **options: Any) -> asyncio.Future[Any]:  # noqa: ANN401
        """Send a command; its answer comes later."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        line = json.dumps({"id": number, "do": command, "with": options})
        self._writer.write(line.encode() + b"\n")
        return future

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """`kill -9`, and wait for the end."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    async def end(self) -> None:
        """Leave nothing of it behind."""
        await self.kill()
        await self._reading
        self._writer.close()
        for future in self._waiting.values():
            future.cancel()

    async def _read(self, reader: StreamReader) -> None:
        while line := await _line(reader):
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"])
            if future.done():
                continue
            if "error" in answer:
                future.set_exception(WorkerError(answer["error"], answer["message"]))
            else:
                future.set_result(answer["result"])
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(WorkerError("Died", "the process has ended"))
                future.exception()


async def _line(reader: StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.readline()
    return b""


class Fleet:
    """A double, one client, one store, and processes that share them."""

    def __init__(self, twitch: RemoteTwitch, store_url: str) -> None:
        self.twitch = twitch
        self.store_url = store_url
        self.workers: list[Worker] = []
        self.client: Client

    async def register(self, *, public: bool = True, **switches: Any) -> None:  # noqa: ANN401
        """Make the client that is meant from now on."""
        self.client = await self.twitch.register_client(public=public, **switches)

    async def start(self, count: int, **options: Any) -> list[Worker]:  # noqa: ANN401
        """So many new processes, all authorized."""
        workers = list(await asyncio.gather(*(Worker.spawn() for _ in range(count))))
        self.workers += workers
        await all_do(workers, "start", **self._settings() | options)
        return workers

    async def restart(self) -> list[Worker]:
        """All processes end as they should, and as many begin."""
        await all_do(self.workers, "close")
        await self.close()
        count = len(self.workers)
        self.workers.clear()
        return await self.start(count)

    async def kill(self, worker: Worker) -> None:
        """`kill -9`; nothing is asked of that process any more."""
        self.workers.remove(worker)
        await worker.end()

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(worker.end() for worker in self.workers))

    def _settings(self) -> dict[str, Any]:
        return {
            "client_id": self.client.client_id,
            "client_secret": self.client.client_secret,
            "store": self.store_url,
            "id_url": self.twitch.id_url,
            "api_url": self.twitch.api_url,
            "maintain": False,
        }

    async def stored(self, user_id: str) -> list[str | None] | None:
        """The pair that a process would find which starts now."""
        async with App(**self._settings()) as app:
            pair = app.get_token(user_id)
            return None if pair is None else list(pair)

    async def is_stored(self, user_id: str) -> bool:
        """Whether the store holds the pair that is good at Twitch."""
        return await self.stored(user_id) == await self.live(user_id)

    async def live(self, user_id: str) -> list[str]:
        """The pair that is good at Twitch."""
        pair = await self.twitch.live_pair(self.client, user_id)
        assert pair is not None, "the connection of this user to the client was cut"
        return [pair.access_token, pair.refresh_token]

    async def pair(self, *, expired: bool = False) -> Pair:
        """A pair of a new user."""
        user = await self.twitch.add_user(f"user{len(await self.twitch.secrets())}")
        if expired:
            return await self.twitch.issue_expired(self.client, user, ["chat:read"])
        return await self.twitch.issue(self.client, user, ["chat:read"])

    async def sent(self) -> int:
        """How many refresh requests have arrived at the double, with their bodies."""
        log = await self.twitch.requests()
        return sum(entry.endpoint == REFRESH for entry in log)

    async def own_pair(self, worker: Worker) -> str:
        """A user whose pair the vault has got by itself; all processes know it. The user's id."""
        user_id = await worker.login(await self.pair(expired=True))
        await all_do(self.workers, "sync")
        return user_id

    async def hold_answer(
        self, worker: Worker, user_id: str
    ) -> tuple[RemoteGate, asyncio.Future[Any]]:
        """A refresh that Twitch has committed; its answer comes when the gate is released."""
        gate = await self.twitch.hold(REFRESH, when="after")
        call = worker.begin("refresh", user_id=user_id)
        await gate.reached()
        return gate, call

    async def expect(self, user_id: str, *, exchanges: int) -> None:
        """So many exchanges so far, no replay, and the good pair in the store and in every view."""
        counts: Counts = await self.twitch.counts()
        assert (counts.exchanges, counts.replays) == (exchanges, 0), str(counts)
        assert await self.is_stored(user_id)
        live = await self.live(user_id)
        for each in self.workers:
            await each.do("sync")
            assert await each.do("token", user_id=user_id) == live
            assert await each.do("needs_login", user_id=user_id) is None


async def all_do(workers: list[Worker], command: str, **options: Any) -> list[Any]:  # noqa: ANN401
    """All processes carry a command out at the same time."""
    return await asyncio.gather(*(worker.do(command, **options) for worker in workers))
