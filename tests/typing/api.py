"""The types of the public API: nothing here runs, mypy and pyright check it.

A change that breaks a line breaks somebody's program.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, assert_type

from twitchvault import (
    App,
    AppAPI,
    Change,
    ClientCredentials,
    Entry,
    Feed,
    FernetStore,
    HTTPException,
    MemoryStore,
    RedisStore,
    SQLiteStore,
    StoreError,
    TokenStore,
    User,
    UserAPI,
    ValidateToken,
    VersionConflict,
    Watchable,
    open_store,
)
from twitchvault.oauth import (
    AuthorizationCodeGrantFlow,
    DeviceCode,
    DeviceCodeFlow,
    IdToken,
    Scopes,
    Token,
)

if TYPE_CHECKING:
    import aiohttp


async def construct(session: aiohttp.ClientSession, store: TokenStore) -> None:
    """A client id is enough; a store is an object or a URL."""
    App("id")
    App("id", None, store=store, maintain=False, lease_ttl=60)
    App("id", "secret", store="sqlite:///x.db", session=session, id_url="http://h", api_url="h")
    async with DeviceCodeFlow("id") as flow:
        assert_type(flow, DeviceCodeFlow)
        assert_type(AuthorizationCodeGrantFlow.from_app(flow), AuthorizationCodeGrantFlow)
        assert_type(await DeviceCodeFlow.from_app(flow), DeviceCodeFlow)
    assert_type(DeviceCodeFlow.from_env(lease_ttl=30, trust_env=True), DeviceCodeFlow)


async def read_views(app: App) -> None:
    """The views are read-only mappings."""
    assert_type(app.http.client_id, str)
    assert_type(app.application, AppAPI | None)
    assert_type(app.tokens, MappingProxyType[str, tuple[str, str | None]])
    assert_type(app.tokens_validity, MappingProxyType[str, tuple[float, float]])
    assert_type(app.users_scopes, MappingProxyType[str, tuple[str, ...]])
    assert_type(app.needs_login, MappingProxyType[str, str])
    assert_type(app.damaged, MappingProxyType[str, StoreError])
    async for event in app.events():
        assert_type(event.user_id, str)
        assert_type(event.reason, str)
        if event.kind == "needs_login" and event.origin == "local":
            return


async def manage_users(app: App) -> None:
    """What `App` does with its users and their tokens."""
    assert_type(await app.authorize(token="token"), None)
    assert_type(app.get_token("1"), tuple[str, str | None] | None)
    assert_type(app.get_token_quota("1"), int | None)
    assert_type(app.get_user_by_id("1"), UserAPI)
    assert_type(app.add_token("1", "access", None), UserAPI)
    assert_type(await app.add_user("access", None), UserAPI)
    assert_type(app.remove_token("1"), None)
    assert_type(await app.validate_token("access"), ValidateToken)
    assert_type(await app.refresh_token("refresh"), Token)
    assert_type(await app.revoke_token("access"), None)
    assert_type(await app.credentials_grant_flow(), ClientCredentials)
    assert_type(await app.sync(), None)
    assert_type(await app.flush(), None)
    assert_type(app.clear(), None)
    assert_type(await app.close(), None)


async def sign_in(device: DeviceCodeFlow, code: AuthorizationCodeGrantFlow) -> None:
    """Both flows; scopes are strings, members of `Scopes`, or both."""
    assert_type(await device.request_device_code(), DeviceCode)
    assert_type(await device.ensure_user(["chat:read"], print, user_id="1"), UserAPI)
    begun = await device.request_device_code([Scopes.CHAT_READ, "chat:edit"])
    assert_type(begun.interval, int)
    assert_type(await device.get_device_token(begun.device_code), Token)
    assert_type(await device.wait_for_device_token("code", interval=5, timeout=9.5), Token)
    assert_type(code.get_authorization_url("https://h", {Scopes.CHAT_READ}, "state", True), str)
    token = await code.get_authorization_token("code", "https://h")
    assert_type(token.refresh_token, str | None)
    assert_type(token.scopes, tuple[str, ...])
    assert_type(token.expires_in, int)
    code.get_authorization_url("https://h", ["openid"], nonce="n", claims={"id_token": {}})
    assert_type(await code.check_id_token(token, nonce="n"), IdToken)
    assert_type((await code.check_id_token(token)).email, str | None)


async def call_helix(user: UserAPI, app: AppAPI) -> None:
    """A user and the application have the same members, but for `get_user`."""
    assert_type(user.user_id, str)
    assert_type(user.id, str)
    assert_type(user.login, str | None)
    assert_type(user.scopes, tuple[str, ...])
    assert_type(user.token, str)
    assert_type(user.needs_login, str | None)
    assert_type(await user.get_user(), User)
    assert_type(await app.get_user(login="alice"), User)
    assert_type(await user.request("GET", "users", params={"id": ["1"]}), dict[str, Any])
    assert_type(await app.post("x", params={"a": 1}, json={"b": 2}), dict[str, Any])
    async for element in user.paginate("users", params={"first": 100}):
        assert_type(element, dict[str, Any])
    assert_type(await user.validate(), ValidateToken)
    assert_type(await user.renew("refused"), str)
    assert_type(await user.revoke(), None)
    assert_type((await user.refresh()).access_token, str)


async def use_store(store: TokenStore, watched: Watchable) -> None:
    """The interface of a store, and of its feed."""
    assert_type(await store.get("key"), Entry | None)
    assert_type(await store.put("key", b"value", expect=0), int)
    assert_type(await store.delete("key"), bool)
    async for entry in store.scan("prefix"):
        assert_type(entry.value, bytes)
    async with watched.watch("prefix") as feed:
        assert_type(feed, Feed)
        assert_type(await feed.wait(), list[Change])
        assert_type(feed.drain(), list[Change])
        assert_type(await feed.catch_up(), list[Change])


def make_stores(key: str) -> list[TokenStore]:
    """Each of ours is a `TokenStore`."""
    memory = MemoryStore()
    return [
        memory,
        SQLiteStore("x.db"),
        RedisStore("redis://h", namespace="bot"),
        FernetStore(memory, [key]),
        FernetStore(memory, lambda: [key]),
        open_store("memory://"),
    ]


class OwnStore(TokenStore):
    """A store of one's own needs four methods."""

    async def get(self, key: str) -> Entry | None:
        """As the interface says."""
        return Entry(key, 1, b"value")

    async def put(self, key: str, value: bytes, *, expect: int | None = None) -> int:
        """As the interface says."""
        raise VersionConflict(key, expect or 0, len(value))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """As the interface says."""
        return key == str(expect)

    async def scan(self, prefix: str = "") -> AsyncIterator[Entry]:
        """As the interface says."""
        yield Entry(prefix, 1, b"value")


def handle(error: HTTPException) -> None:
    """What an HTTP error carries."""
    assert_type(error.status, int)
    assert_type(error.message, str)
    assert_type(error.headers, Mapping[str, str])
    assert_type(error.error_code, str)
    App("id", store=OwnStore())
