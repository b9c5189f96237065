"""An HTTP client for the double: it sends exactly what the test names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from twitchvault.testing import FakeTwitch
    from twitchvault.testing.fake import Client, Pair, User

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
    def redirected(self) -> tuple[str, dict[str, str]]:
        """Where a redirect goes, and its parameters, in the query or in the fragment."""
        assert self.status == 302
        parts = urlsplit(self.headers["Location"])
        params = dict(parse_qsl(parts.query or parts.fragment, keep_blank_values=True))
        return f"{parts.scheme}://{parts.netloc}{parts.path}", params

    @property
    def message(self) -> tuple[int, object]:
        """Status and message of an identity error, whose body has these two keys and no other."""
        assert self.json == {"status": self.status, "message": self.json["message"]}
        return self.status, self.json["message"]

    @property
    def helix(self) -> tuple[int, object]:
        """Status and message of a Helix error, whose body has three keys."""
        assert set(self.json) == {"error", "status", "message"}
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

    async def post(self, path: str, **form: str) -> Reply:
        """POST to the identity service with a urlencoded body."""
        return await self.send("POST", self.twitch.id_url + path, data=form)

    async def token(self, client: Client, grant_type: str, **form: str) -> Reply:
        """One of the grants, with the secret if the client has one."""
        good = {"client_id": client.client_id, "grant_type": grant_type}
        if client.client_secret is not None:
            good["client_secret"] = client.client_secret
        return await self.post("token", **good | form)

    async def refresh(self, client: Client, refresh_token: str, **form: str) -> Reply:
        """A refresh."""
        return await self.token(client, "refresh_token", refresh_token=refresh_token, **form)

    async def refreshed(self, client: Client, refresh_token: str) -> tuple[str, str]:
        """A refresh that succeeds: the new access and refresh token."""
        reply = await self.refresh(client, refresh_token)
        assert reply.status == 200, reply.text
        return str(reply.json["access_token"]), str(reply.json["refresh_token"])

    async def app_token(self, client: Client) -> str:
        """An app token."""
        return str((await self.token(client, "client_credentials")).json["access_token"])

    async def authorize(self, client: Client, **change: str | None) -> Reply:
        """GET /oauth2/authorize."""
        params = {"client_id": client.client_id, "redirect_uri": HOME, "response_type": "code"}
        wanted = params | {"scope": "chat:read chat:edit", "state": "a b&c"} | change
        sent = {name: value for name, value in wanted.items() if value is not None}
        return await self.send("GET", self.twitch.id_url + "authorize", params=sent)

    async def code(self, client: Client, user: User, scope: str = "chat:read chat:edit") -> str:
        """An authorization code, with the user's consent by command."""
        self.twitch.auto_consent(user)
        return (await self.authorize(client, scope=scope)).redirected[1]["code"]

    async def exchange(self, client: Client, code: str, **change: str) -> Reply:
        """The exchange of an authorization code."""
        form = {"code": code, "redirect_uri": HOME} | change
        return await self.token(client, "authorization_code", **form)

    async def device(self, client: Client, **form: str) -> Reply:
        """Start a device login."""
        return await self.post("device", client_id=client.client_id, **form)

    async def poll(self, client: Client, device_code: object, **form: str) -> Reply:
        """One poll, without the secret."""
        form |= {"client_id": client.client_id, "device_code": str(device_code)}
        return await self.post("token", grant_type=DEVICE, **form)

    async def revoke(self, client: Client, token: str) -> Reply:
        """Revoke an access token."""
        return await self.post("revoke", client_id=client.client_id, token=token)

    async def validate(self, access_token: str, scheme: str = "OAuth") -> Reply:
        """Validate a token."""
        headers = {"Authorization": f"{scheme} {access_token}"}
        return await self.send("GET", self.twitch.id_url + "validate", headers=headers)

    async def helix(
        self, client: Client, token: str, path: str = "users", method: str = "GET", **o: object
    ) -> Reply:
        """A Helix request with good headers."""
        headers = {"Authorization": f"Bearer {token}", "Client-Id": client.client_id}
        return await self.send(method, self.twitch.api_url + path, headers=headers, **o)


def register(http: HTTP, **switches: object) -> Client:
    """A confidential client with two redirect URIs."""
    client = http.twitch.register_client(redirect_uris=[FIRST, HOME])
    http.twitch.switch(client, **switches)
    return client


def connected(http: HTTP, **switches: object) -> tuple[Client, Pair]:
    """A confidential client and a pair of alice's."""
    return _with_pair(http, register(http, **switches))


def public(http: HTTP, **switches: object) -> tuple[Client, Pair]:
    """A public client and a pair of alice's."""
    client = http.twitch.register_client(public=True)
    http.twitch.switch(client, **switches)
    return _with_pair(http, client)


def _with_pair(http: HTTP, client: Client) -> tuple[Client, Pair]:
    return client, http.twitch.issue(client, http.twitch.add_user("alice"), ["chat:read"])
