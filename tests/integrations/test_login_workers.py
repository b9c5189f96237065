"""A web server of three workers that share a store: the halves of a login fall on any of them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from tests.environment import until
from tests.integrations import site
from tests.redis_store.conftest import server, store_url  # noqa: F401 - fixtures
from tests.spawning import fork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.environment import Environment
    from twitchvault.testing import FakeTwitch

LOGINS = 100
AT_ONCE = 10


@contextmanager
def workers(count: int, arguments: dict[str, Any]) -> Iterator[list[URL]]:
    """So many workers; SIGTERM ends each of them, and in time."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        processes = [fork(site.serve, listening, arguments) for listening in sockets]
        try:
            yield [URL(f"http://127.0.0.1:{one.getsockname()[1]}") for one in sockets]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(10)
        assert not any(process.is_alive() for process in processes)


class Visitor:
    """A browser, and a user who signs in by it; each of their requests goes to another worker."""

    def __init__(self, twitch: FakeTwitch, login: str, workers: list[URL]) -> None:
        self._twitch = twitch
        self._login = login
        self._workers = cycle(workers)
        self._browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._browser.close()

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """The status of a page, and its text or where it leads."""
        page = next(self._workers).join(URL(path))
        async with self._browser.request(
            method, page, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get("Location", await answer.text())

    async def begin(self, decision: str = "authorize") -> str:
        """Begin a login and decide on Twitch's page; the way back."""
        status, location = await self.get("/login")
        assert status == 302
        form = dict(URL(location).query) | {"user": self._login, "decision": decision}
        consent = self._browser.post(
            f"{self._twitch.id_url}authorize", data=form, allow_redirects=False
        )
        async with consent as answer:
            return str(URL(answer.headers["Location"]).relative())

    async def hang_up(self, path: str) -> None:
        """Send the request, and do not wait for the answer."""
        worker = next(self._workers)
        cookies = self._browser.cookie_jar.filter_cookies(worker).values()
        lines = [f"GET {path} HTTP/1.1", f"Host: {worker.host}"]
        lines += [f"Cookie: {'; '.join(f'{one.key}={one.value}' for one in cookies)}", "", ""]
        assert worker.host is not None
        _, writer = await asyncio.open_connection(worker.host, worker.port)
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        writer.close()

    async def plain(self) -> None:
        """There and back."""
        assert await self.get(await self.begin()) == (303, "/callback")
        assert await self.get("/callback") == (200, f"Welcome, {self._login}.")

    async def reloaded(self) -> None:
        """The address with the code is opened three times at once: one of them signs in."""
        back = await self.begin()
        pages = await asyncio.gather(*(self.get(back) for _ in range(3)))
        assert sorted(status for status, _ in pages) == [303, 400, 400]
        assert await self.get("/callback") == (200, f"Welcome, {self._login}.")

    async def prefetched(self) -> None:
        """The browser looks at each page in advance."""
        ahead = {"Sec-Purpose": "prefetch"}
        assert (await self.get("/login", **ahead))[0] == 503
        back = await self.begin()
        assert (await self.get(back, "HEAD"))[0] == 204
        assert (await self.get(back, **ahead))[0] == 503
        assert (await self.get(back))[0] == 303

    async def refused(self) -> None:
        """The user presses Cancel."""
        assert await self.get(await self.begin("cancel")) == (403, "You did not grant access.")

    async def impatient(self) -> None:
        """The browser hangs up and reloads: it is signed in by the one request or the other."""
        back = await self.begin()
        await self.hang_up(back)
        assert (await self.get(back))[0] in {303, 400}


KINDS = (Visitor.plain, Visitor.reloaded, Visitor.prefetched, Visitor.refused, Visitor.impatient)


@pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
async def test_a_hundred_logins(env: Environment, store_url: str) -> None:  # noqa: F811
    """All end as they should, and each code is sent to Twitch once, whatever browsers do."""
    twitch, places = env.twitch, asyncio.Semaphore(AT_ONCE)
    users = [env.new_user() for _ in range(LOGINS)]
    arguments = env.arguments(env.confidential, store=store_url)

    async def visit(number: int, pages: list[URL]) -> None:
        turned = pages[number % len(pages) :] + pages[: number % len(pages)]
        async with places, Visitor(twitch, users[number].login, turned) as visitor:
            await KINDS[number % len(KINDS)](visitor)

    async with env.app(env.confidential, store=store_url) as app:
        with workers(3, arguments) as pages:
            await asyncio.gather(*(visit(number, pages) for number in range(LOGINS)))
            refused = {user.user_id for user in users[3 :: len(KINDS)]}
            signed_in = {user.user_id for user in users} - refused
            await until(lambda: signed_in <= app.users_scopes.keys())
        assert not refused & app.users_scopes.keys()
    exchanges = [entry.status for entry in twitch.requests if entry.endpoint == "token:code"]
    assert exchanges == [200] * len(signed_in)
    assert twitch.counts.replays == 0
