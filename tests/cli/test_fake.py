"""`twitchvault fake`: the double by hand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp

from tests.browser import visit
from twitchvault.testing import RemoteTwitch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .command import Shell

FORM = {"decision": "authorize", "user": "carol"}


@asynccontextmanager
async def double(shell: Shell, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """A double, and the variables that it says lead there."""
    command = await shell.start("fake", "--port", "0", *arguments)
    variables: dict[str, Any] = {}
    while "TWITCHVAULT_API_URL" not in variables:
        name, _, value = (await command.readline()).removeprefix("export ").partition("=")
        variables[name] = value
    try:
        yield variables
    finally:
        await command.kill()


async def fetch(variables: dict[str, Any], path: str, **form: str) -> str:
    """A page of the double."""
    root = variables["TWITCHVAULT_ID_URL"].removesuffix("oauth2/")
    method = "POST" if form else "GET"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, root + path, data=form or None) as answer,
    ):
        return await answer.text()


async def test_it_prints_what_leads_there(shell: Shell) -> None:
    """The printed variables are enough to sign in, with --approve without any click."""
    async with double(shell, "--approve") as variables:
        outcome = await shell.run("login", "--scope", "chat:read", **variables)
        assert "alice" in outcome.out + outcome.err
        await shell.run("check", **variables)


async def test_a_confidential_client_has_a_secret(shell: Shell) -> None:
    """It is printed too, and the double takes it."""
    async with double(shell, "--confidential", "--approve") as variables:
        assert variables["TWITCHVAULT_CLIENT_SECRET"]
        await shell.run("login", **variables)


async def test_its_page_shows_users_and_codes(shell: Shell) -> None:
    """A code that waits is in a browser a link to the page that approves it, and then gone."""
    async with double(shell, "--user", "carol") as variables:
        page = await fetch(variables, "")
        assert "carol (" in page
        assert variables["TWITCHVAULT_CLIENT_ID"] in page
        assert "activate" not in page
        form = {"client_id": variables["TWITCHVAULT_CLIENT_ID"], "scopes": "chat:read"}
        await fetch(variables, "oauth2/device", **form)
        page = await visit(variables["TWITCHVAULT_ID_URL"].removesuffix("oauth2/"))
        assert "<h1>A double of Twitch</h1>" in page
        assert "<li>carol (" in page
        code = page.partition("/activate?device-code=")[2][:8]
        assert f">{code}</a> for {variables['TWITCHVAULT_CLIENT_ID']}: chat:read" in page
        page = await fetch(variables, f"activate?device-code={code}", **FORM)
        assert "Done" in page
        assert "activate" not in await fetch(variables, "")


async def test_its_application_knows_the_addresses_of_the_pages(shell: Shell) -> None:
    """Those of `login --code` and of the examples for a browser."""
    async with double(shell) as variables:
        query = {"response_type": "code", "client_id": variables["TWITCHVAULT_CLIENT_ID"]}
        query |= {"scope": "chat:read", "state": "s"}
        for place in ("17563/callback", "3000", "3000/callback"):
            query["redirect_uri"] = f"http://localhost:{place}"
            assert "alice" in await fetch(variables, f"oauth2/authorize?{urlencode(query)}")


async def test_cancel_on_its_page_ends_the_login(shell: Shell) -> None:
    """The command that waits for the code says so at once, with 1."""
    async with double(shell) as variables:
        login = await shell.start("login", **variables)
        code = (await login.see("Code")).split()[-1]
        await fetch(variables, f"activate?device-code={code}", decision="cancel")
        outcome = await shell.end(login, code=1)
        assert outcome.err.endswith("The user has refused, and nothing is stored.\n")


async def test_ctrl_c_ends_it(shell: Shell) -> None:
    """The code is 130, and it says where the page is."""
    command = await shell.start("fake", "--port", "0")
    await command.see("API_URL")
    outcome = await shell.interrupt(command)
    assert "Users and the codes that wait: http://127.0.0.1:" in outcome.err


async def test_a_name_that_no_user_can_have_is_refused(shell: Shell) -> None:
    """It is one line, and the code is 2."""
    outcome = await shell.run("fake", "--port", "0", "--user", "Not A Login", code=2)
    assert "--user: 'login': expected" in outcome.err


async def test_a_port_in_use_is_one_line(shell: Shell) -> None:
    """It says which port, why, and what to do; the code is 2."""
    port = shell.twitch.url.rpartition(":")[2]
    outcome = await shell.run("fake", "--port", port, code=2)
    assert outcome.out == ""
    assert outcome.err == (
        f"twitchvault: port {port} of this machine cannot be used (another program uses it): "
        "name another one with --port\n"
    )


async def test_it_takes_commands(shell: Shell) -> None:
    """A program on the same machine can make it fail, or sign a user out."""
    async with double(shell) as variables:
        url = variables["TWITCHVAULT_ID_URL"].removesuffix("/oauth2/")
        async with RemoteTwitch(url) as twitch:
            assert (await twitch.add_user("carol")).login == "carol"
