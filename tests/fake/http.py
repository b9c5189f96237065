"""A plain HTTP client for the double: what is sent is exactly what the test names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair

FIRST = "http://localhost:3000/first"
HOME = "http://localhost:3000/cb?keep=1"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        content = json.loads(self.text)
        assert isinstance(content, dict)
        return content

    @property
    def message(self) -> tuple[int, object]:
        """Status and message of an identity error, whose body has these two keys and no other."""
        assert self.headers["Content-Type"] == "application/json"
        assert self.text.endswith("}\n")
        assert set(self.json) == {"status", "message"}
        assert self.json["status"] == self.status
        return self.status, self.json["message"]

    @property
    def helix(self) -> tuple[int, object]:
        """Status and message of a Helix error, whose body has three keys."""
        assert set(self.json) == {"error", "status", "message"}
        assert self.json["status"] == self.status
        return self.status, self.json["message"]


class HTTP:
    """The double, and a session to talk to it."""

    def __init__(self, twitch: FakeTwitch, session: aiohttp.ClientSession) -> None:
        self.twitch = twitch
        self.session = session

    async def send(self, method: str, url: str, **options: object) -> Reply:
        """Any request; redirects are not followed."""
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, url, **options) as answer:  # type: ignore[arg-type]
            return Reply(answer.status, await answer.text(), answer.headers)

    async def token(self, **form: str) -> Reply:
        """POST /oauth2/token with a urlencoded body."""
        return await self.send("POST", self.twitch.id_url + "token", data=form)

    async def refresh(self, client: Client, refresh_token: str, **form: str) -> Reply:
        """A refresh, with the secret if the client has one."""
        if client.client_secret is not None:
            form.setdefault("client_secret", client.client_secret)
        form |= {"client_id": client.client_id, "grant_type": "refresh_token"}
        return await self.token(refresh_token=refresh_token, **form)

    async def refreshed(self, client: Client, refresh_token: str) -> tuple[str, str]:
        """A refresh that succeeds: the new access and refresh token."""
        reply = await self.refresh(client, refresh_token)
        assert reply.status == 200, reply.text
        return str(reply.json["access_token"]), str(reply.json["refresh_token"])

    async def device(self, client: Client, **form: str) -> Reply:
        """Start a device login."""
        form["client_id"] = client.client_id
        return await self.send("POST", self.twitch.id_url + "device", data=form)

    async def poll(self, client: Client, device_code: object) -> Reply:
        """One poll."""
        return await self.token(
            client_id=client.client_id, device_code=str(device_code), grant_type=DEVICE
        )

    async def validate(self, access_token: str, scheme: str = "OAuth") -> Reply:
        """Validate a token."""
        headers = {"Authorization": f"{scheme} {access_token}"}
        return await self.send("GET", self.twitch.id_url + "validate", headers=headers)

    async def helix(
        self,
        client: Client,
        access_token: str,
        path: str = "users",
        method: str = "GET",
        **o: object,
    ) -> Reply:
        """A Helix request with good headers."""
        headers = {"Authorization": f"Bearer {access_token}", "Client-Id": client.client_id}
        return await self.send(method, self.twitch.api_url + path, headers=headers, **o)


def register(http: HTTP, *, public: bool = False, **switches: object) -> Client:
    """A client with these switches and two redirect URIs."""
    client = http.twitch.register_client(public=public, redirect_uris=[FIRST, HOME])
    http.twitch.switch(client, **switches)
    return client


def public(http: HTTP, **switches: object) -> tuple[Client, Pair]:
    """A public client and a pair of alice's."""
    return connected(http, public=True, **switches)


def connected(http: HTTP, *, public: bool = False, **switches: object) -> tuple[Client, Pair]:
    """A client and a pair of alice's."""
    client = register(http, public=public, **switches)
    alice = http.twitch.add_user("alice")
    return client, http.twitch.issue(client, alice, ["chat:read"])
