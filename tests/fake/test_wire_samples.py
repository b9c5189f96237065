"""Answers of Twitch that were recorded or quoted in public, beside what the double answers.

`wire_samples.json` holds them, each with its source. A value that differs from call to call is
compared by its type only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from twitchvault.testing.fake import TOO_MANY_CALLS, TOO_MANY_SUBSCRIPTIONS

from .http import DEVICE, HOME, HTTP, Reply

if TYPE_CHECKING:
    from twitchvault.testing.fake import Client, User

SAMPLES: Final = json.loads(Path(__file__).with_name("wire_samples.json").read_text())
CHANGING: Final = {
    "access_token", "client_id", "created_at", "device_code", "expires_in", "profile_image_url",
    "refresh_token", "user_code", "verification_uri", "view_count",
}  # fmt: skip
"""The values that are compared by type."""

GRANTS: Final = {
    "app": ("client_credentials", {}),
    "code": ("authorization_code", {"code": "{code}", "redirect_uri": HOME}),
    "refresh": ("refresh_token", {"refresh_token": "{refresh}"}),
    "poll": (DEVICE, {"device_code": "{device}"}),
}
"""The grants, and their good parameters besides client id and secret."""


@dataclass(frozen=True)
class Case:
    """How to make the double give an answer: what differs from a good request."""

    kind: str = "helix"
    change: dict[str, str] = field(default_factory=dict)
    scopes: str = "chat:edit chat:read"
    switches: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    query: str = ""
    token: str = "{access}"
    client_id: str | None = "{client}"
    resource: dict[str, Any] | None = None
    fault: dict[str, Any] | None = None
    approve: bool = True
    repeat: int = 1


def fault(**changes: object) -> Case:
    """The double has no such endpoint or rule: `fail` gives the answer of the sample."""
    return Case(fault=changes)


CASES: Final = {
    "validate-user": Case("validate", scopes=" ".join(json.loads(SAMPLES[0]["body"])["scopes"])),
    "validate-app-2020": Case("validate", token="{app}", switches={"app_scopes": "list"}),
    "validate-app-2023": Case("validate", token="{app}"),
    "validate-user-noscope": Case("validate", scopes=""),
    "validate-dead": Case("validate", token="garbage"),
    "validate-missing": Case("validate", token=""),
    "validate-429": Case("validate", settings={"identity_limit": 0}),
    "app-token": Case("app"),
    "app-token-noclient": Case("app", {"client_id": ""}),
    "app-token-wrong-id": Case("app", {"client_id": "nobody"}),
    "app-token-wrong-secret": Case("app", {"client_secret": "wrong"}),
    "code-token": Case("code"),
    "code-missing": Case("code", {"code": ""}),
    "code-invalid": Case("code", {"code": "garbage"}),
    "code-redirect": Case("code", {"redirect_uri": HOME + "/"}),
    "code-noscope": Case("code", scopes="", switches={"omit_token_type": True}),
    "refresh-ok": Case("refresh", scopes="bits:read channel:moderate chat:edit chat:read"
                                         " user:read:email"),
    "refresh-dead": Case("refresh", {"refresh_token": "garbage"}),
    "refresh-missing": Case("refresh", {"refresh_token": ""}),
    "refresh-nosecret": Case("refresh", {"client_secret": ""}),
    "refresh-wrong-secret": Case("refresh", {"client_secret": "wrong"}),
    "refresh-bad-scope": Case("refresh", {"scope": "invalid:scope"}),
    "token-by-get": Case("validate"),
    "device-start": Case("device"),
    "device-bad-client": Case("device", {"client_id": "nobody"}),
    "device-token-noscope": Case("poll", scopes=""),
    "device-pending": Case("poll", approve=False),
    "device-invalid": Case("poll", {"device_code": "garbage"}),
    "device-missing": Case("poll", {"device_code": ""}),
    "revoke-dead": Case("revoke", {"token": "garbage"}),
    "revoke-unknown-client": Case("revoke", {"client_id": "nobody"}),
    "revoke-missing": Case("revoke", {"token": ""}),
    "helix-401-invalid": Case(token="garbage"),
    "helix-401-noclient": Case(client_id=None),
    "helix-401-notuser": Case(token="{app}", resource={"needs": "user"}),
    "helix-401-foreign": fault(headers={"Ratelimit-Remaining": "799"}),
    "helix-401-scope": Case(resource={"scope": "user:read:moderated_channels"}),
    "helix-401-mismatch": Case(client_id="another"),
    "helix-204": fault(body=None),
    "helix-429-rate": Case(settings={"helix_limit": 1}, repeat=2),
    "helix-429-app": fault(body=TOO_MANY_CALLS),
    "helix-429-subs": fault(body=TOO_MANY_SUBSCRIPTIONS),
    "helix-500": fault(body=None),
    "users-me": Case(),
    "users-none": Case(query="?id=404"),
    "page-cursor": Case(query="?first=5", resource={"items": [
        {"id": f"{n}", "name": f"G{n}", "box_art_url": "u"} for n in range(6)]}),
    "page-last": Case(resource={"items": [{"id": "A", "view_count": 1}]}),
    "ical": fault(content_type="text/calendar"),
}  # fmt: skip
"""A sample without a case is given by a fault."""

SLIPS: Final = {"code-redirect": ("registeredURI", "registered URI")}
"""Where the source has a typing error: what it says, and what Twitch sends."""


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["id"]))
async def test_the_double_answers_as_twitch_does(http: HTTP, sample: dict[str, Any]) -> None:
    """Status, content type, rate limit headers, keys in order, values and the last byte agree."""
    reply = await answer(http, sample)
    body = sample["body"].replace(*SLIPS.get(sample["id"], ("", "")))
    assert reply.status == sample["status"]
    assert reply.headers.get("Content-Type") == sample["content_type"]
    assert reply.headers.get("Content-Encoding") == sample["encoding"]
    assert comparable(reply.text) == comparable(body)
    remaining = reply.headers.get("Ratelimit-Remaining")
    assert (remaining == "0") is (sample["remaining"] == "0")
    if sample["remaining"] or sample["recorded"]:
        assert (remaining is None) is (sample["remaining"] is None)
    if sample["recorded"]:
        assert reply.text.endswith("\n") is body.endswith("\n")


def test_every_case_has_its_sample() -> None:
    """A misspelt case would never be used."""
    assert set(CASES) <= {sample["id"] for sample in SAMPLES}


def comparable(body: str) -> object:
    """A body whose changing values are replaced by their type; minimal JSON is required."""
    try:
        content = json.loads(body)
    except ValueError:
        return body
    assert json.dumps(content, separators=(",", ":")) == body.rstrip("\n")
    return _typed(content)


def _typed(value: object) -> object:
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return [(k, type(v) if k in CHANGING else _typed(v)) for k, v in value.items()]


async def answer(http: HTTP, sample: dict[str, Any]) -> Reply:
    """Prepare what the case needs, and send its request."""
    case, twitch = CASES.get(sample["id"], fault()), http.twitch
    path = sample["path"].replace("/v5/", "/helix/")  # the double has one version
    client = twitch.register_client(redirect_uris=[HOME], **case.switches)
    user = twitch.add_user("somebody", user_id="1002", display_name="SomeBody")
    values = await _values(http, case, client, user)
    if case.resource is not None:
        twitch.add_resource(path.removeprefix("/helix/"), **case.resource)
    if case.fault is not None:
        given = {"status": sample["status"], "body": sample["body"]} | case.fault
        endpoint = path.removeprefix("/oauth2/").replace("/helix/", "helix:")
        twitch.fail(endpoint, **given)
    twitch.configure(**case.settings)
    for _ in range(case.repeat):
        reply = await _send(http, client, sample["method"], path + case.query, case, values)
    return reply


async def _values(http: HTTP, case: Case, client: Client, user: User) -> dict[str, str]:
    twitch, scopes = http.twitch, case.scopes.split()
    pair = twitch.issue(client, user, scopes)
    values = {"client": client.client_id, "access": pair.access_token}
    values["refresh"] = pair.refresh_token
    if case.kind == "code":
        values["code"] = await http.code(client, user, case.scopes)
    if case.kind == "poll":
        start = (await http.device(client, scopes=case.scopes)).json
        values["device"] = str(start["device_code"])
        if case.approve:
            twitch.approve(str(start["user_code"]), user)
    if case.token == "{app}":
        values["app"] = await http.app_token(client)
    return values


async def _send(
    http: HTTP, client: Client, method: str, path: str, case: Case, values: dict[str, str]
) -> Reply:
    if case.kind in GRANTS:
        grant_type, good = GRANTS[case.kind]
        form = {name: text.format(**values) for name, text in (good | case.change).items()}
        return await http.token(client, grant_type, **form)
    if method == "POST" and case.fault is None:
        return await http.post(case.kind, **{"client_id": client.client_id} | case.change)
    scheme = "OAuth" if case.kind == "validate" else "Bearer"
    headers = {"Authorization": f"{scheme} {case.token}", "Client-Id": case.client_id}
    sent = {name: text.format(**values) for name, text in headers.items() if text is not None}
    return await http.send(method, http.twitch.url + path, headers=sent)
