"""`twitchvault login --code`: a browser that comes back to this machine, or a pasted address."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from tests.browser import visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .command import Command, Shell

    Visit = Callable[[str], Awaitable[str]]

MARKUP = "<script>document.title='owned'</script><b>bold</b>"
ESCAPED = "&lt;script&gt;document.title="


async def fetch(url: str) -> str:
    """What a browser would show, without one."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


@dataclass(frozen=True)
class Login:
    """A login that waits for its browser: the page to visit, and where that sends it back."""

    command: Command
    url: str
    address: str

    def back(self, **query: str) -> str:
        """The address as the browser might be sent to it, with the right state."""
        state = parse_qs(urlsplit(self.url).query)["state"][0]
        return f"{self.address}?{urlencode({'state': state, **query})}"


@pytest.fixture
def port() -> int:
    """A port of this machine that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture
def shell(shell: Shell, port: int) -> Shell:
    """A confidential client whose address is registered; alice consents at once."""
    address = f"http://localhost:{port}/callback"
    client = shell.twitch.register_client(redirect_uris=(address,))
    shell.twitch.auto_consent("alice")
    return replace(shell, client=client)


@asynccontextmanager
async def waiting(shell: Shell, port: int, *options: str) -> AsyncIterator[Login]:
    """A login that has said which address is needed, and then which page to open."""
    address = f"http://localhost:{port}/callback"
    command = await shell.start("login", *options, "--scope", "chat:read")
    try:
        assert address in await command.readline()
        opens, _, url = (await command.readline()).partition("  ")
        assert opens == "Open"
        yield Login(command, url, address)
    finally:
        await command.kill()


def by_code(shell: Shell, port: int, *options: str) -> AbstractAsyncContextManager[Login]:
    """The same for a browser that comes back to this port."""
    return waiting(shell, port, "--code", "--port", str(port), *options)


async def location(url: str) -> str:
    """Where a page sends the browser."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        return answer.headers["Location"]


@pytest.mark.parametrize("browser", [fetch, visit])
async def test_a_browser_brings_the_code(shell: Shell, port: int, browser: Visit) -> None:
    """What is not this login's does not end the wait; the last page says who has signed in."""
    async with by_code(shell, port) as login:
        for stray in ("?code=stolen", "?state=%3Cb%3E&code=stolen", "?error=access_denied"):
            assert "Another login" in await fetch(f"{login.address}{stray}")
        error = await browser(login.back(error="server_error", error_description=MARKUP))
        assert ESCAPED in error
        assert "<title>Twitch reports an error" in error
        done = await browser(login.url)
        assert "<h1>Signed in</h1>" in done
        assert "As alice." in done
        outcome = await shell.end(login.command)
    assert "Signed in: alice (1001)." in outcome.out
    assert f"Twitch reports: {MARKUP}\n" in outcome.err
    assert (await shell.run("list")).rows["alice"][6] == "chat:read"


@pytest.mark.parametrize("browser", [fetch, visit])
async def test_a_user_who_refuses(shell: Shell, port: int, browser: Visit) -> None:
    """The page and the terminal say so; the exit code is 1, and nothing is stored."""
    shell.twitch.auto_consent(None, deny=True)
    async with by_code(shell, port) as login:
        assert "<h1>Access denied</h1>" in await browser(login.url)
        outcome = await shell.end(login.command, code=1)
    assert outcome.err == shell.named(
        "Waiting for your browser, 10 minutes at most ...\n"
        "The user has refused, and nothing is stored.\n"
    )


async def test_a_login_that_fails_is_said_in_the_browser_too(shell: Shell, port: int) -> None:
    """Another account than expected: the page has the text of the terminal, and nothing else."""
    async with by_code(shell, port, "--expect", "<b>bob</b>") as login:
        page = await fetch(login.url)
        await shell.end(login.command, code=2)
    assert "<h1>Not signed in</h1>" in page
    assert "alice (1001) has signed in, not &#x27;&lt;b&gt;bob&lt;/b&gt;&#x27;" in page
    assert (await shell.run("list")).out == ""


async def test_the_listener(shell: Shell, port: int) -> None:
    """It is on 127.0.0.1 alone, uses no state up for a HEAD, and takes a code but once."""
    others = ["[::1]", *(["127.0.0.2"] if sys.platform == "linux" else [])]
    async with by_code(shell, port) as login:
        for host in others:
            with pytest.raises(aiohttp.ClientConnectorError):
                await fetch(f"http://{host}:{port}/callback")
        head = aiohttp.request("HEAD", login.back(code="prefetched"))
        async with head as answer:
            assert answer.status == 405
        back = await location(login.url)
        gate = shell.twitch.hold("token:code")
        first = asyncio.create_task(fetch(back))
        await gate.reached(1)
        assert "Used already" in await fetch(back)
        occupied = await shell.run("login", "--code", "--port", str(port), code=2)
        gate.release()
        assert "Signed in" in await first
        await shell.end(login.command)
    assert f"twitchvault: port {port} of this machine cannot be used (" in occupied.err


async def test_a_pasted_address(shell: Shell) -> None:
    """On a box without a browser: what is no such address is asked for again."""
    address = "http://localhost:17563/callback"
    shell = replace(shell, client=shell.twitch.register_client(redirect_uris=(address,)))
    async with waiting(shell, 17563, "--paste") as login:
        back = await location(login.url)
        typed = f"nonsense\nhttp://[\n{address}?code=stolen&state=wrong\n{back}\n"
        outcome = await shell.end(login.command, typed=typed)
    assert outcome.err.count("That is not the address of this login") == 3
    assert "Signed in: alice (1001)." in outcome.out
    async with waiting(shell, 17563, "--paste") as login:
        outcome = await shell.end(login.command, code=2)
    assert outcome.err.endswith("twitchvault: no address was pasted\n")
