"""Sessions, connectors, proxies and traces: what is used, what is closed, what is shown."""

from __future__ import annotations

import warnings
from base64 import b64encode
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.http_servers import FORM, OK, SECRET, failure, free_port, raw_server, web_server
from twitchvault.http import HTTPClient

if TYPE_CHECKING:
    import asyncio


async def hello(request: web.Request) -> web.Response:
    """Answers with the User-Agent and the type of the body, and the status asked for."""
    text = f"{request.headers.get('User-Agent')} {request.content_type}"
    return web.Response(text=text, status=int(request.query.get("status", "200")))


async def test_given_session_is_used_and_stays_open() -> None:
    """It brings its own headers, but for a body's type, and is the caller's to close."""
    headers = {"User-Agent": "mine", "Content-Type": "text/plain"}
    async with (
        aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
        web_server(hello) as url,
    ):
        client = HTTPClient(client_id="abc", session=session)
        answer = await client.send("POST", url, form=FORM)
        assert answer.body == b"mine application/x-www-form-urlencoded"
        assert (await client.send("POST", url, json={})).body == b"mine application/json"
        assert (await client.send("GET", url, params=[("status", "400")])).status == 400
        await client.close()
        assert not session.closed


async def test_a_session_brings_its_own() -> None:
    """What would be ignored beside it is refused."""
    async with aiohttp.ClientSession() as session:
        for more in (
            {"http_trace": aiohttp.TraceConfig()},
            {"connector": session.connector},
            {"trust_env": True},
        ):
            with pytest.raises(ValueError, match="'trust_env' belong to a session: give them to"):
                HTTPClient(client_id="abc", session=session, **more)


async def test_no_cookies_are_kept(client: HTTPClient) -> None:
    """One user's answer sets nothing that another user's request would carry."""

    async def handler(request: web.Request) -> web.Response:
        response = web.Response(text=request.headers.get("Cookie", "none"))
        response.set_cookie("a", "b")
        return response

    async with web_server(handler) as url:
        for _ in range(2):
            answer = await client.send("GET", url.replace("127.0.0.1", "localhost"))
            assert answer.body == b"none"


async def test_environment_proxies_are_ignored(
    client: HTTPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment is not used."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with web_server(hello) as url:
        assert (await client.send("GET", url)).status == 200


@pytest.mark.parametrize("in_url", [True, False])
async def test_proxies_get_credentials_and_may_refuse(in_url: bool) -> None:
    """They go with a plain request and with CONNECT; a refused CONNECT proves that nothing left."""
    heads: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        writer.write(refusal if heads[-1].startswith(b"CONNECT") else OK)
        await reader.read()

    async with raw_server(proxy) as url:
        client = _through(url, in_url=in_url)
        assert (await client.send("POST", "http://example.invalid/x", form=FORM)).status == 200
        error = await failure(client, "https://example.invalid/x")
        await client.close()
    assert heads[0].startswith(b"POST http://example.invalid/x HTTP/1.1\r\n")
    assert heads[1].startswith(b"CONNECT example.invalid:443 ")
    credentials = b64encode(f"me:{SECRET}".encode())
    for head in heads:
        assert b"\r\nProxy-Authorization: Basic " + credentials + b"\r\n" in head
    assert not error.sent
    assert str(error) == "no answer from example.invalid:443: the proxy refused to connect to it"


def _through(url: str, *, in_url: bool) -> HTTPClient:
    host = url.removeprefix("http://").partition("/")[0]
    if in_url:
        return HTTPClient(client_id="abc", proxy=f"http://me:{SECRET}@{host}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer aiohttp has a successor
        auth = aiohttp.BasicAuth("me", SECRET)
    return HTTPClient(client_id="abc", proxy=f"http://{host}", proxy_auth=auth)


async def test_proxy_out_of_reach_sent_nothing() -> None:
    """A proxy that cannot be reached is named as such, without its credentials."""
    client = HTTPClient(client_id="abc", proxy=f"http://me:{SECRET}@127.0.0.1:{free_port()}")
    for target in ("https://example.invalid/x", "http://example.invalid:443/x"):
        error = await failure(client, target)
        assert not error.sent
        assert str(error) == "no answer from example.invalid:443: the proxy cannot be reached"
    await client.close()
