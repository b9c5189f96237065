"""`twitchvault import`: tokens from the files of other libraries and programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import twitchio
from twitchAPI.oauth import UserAuthenticationStorageHelper
from twitchAPI.twitch import Twitch
from twitchAPI.type import AuthScope
from twitchio.http import Route

from twitchvault.cli.commands import import_
from twitchvault.cli.peer_files import FoundPair
from twitchvault.vault.record import Record, decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from twitchvault.testing.fake import Pair

    from .command import Shell

    Save = Callable[[Shell, Pair, Path], Awaitable[Path]]

SCOPE = "chat:read"


async def by_twitchio(shell: Shell, pair: Pair, folder: Path) -> Path:
    """What TwitchIO saves when it ends."""
    file = folder / ".tio.tokens.json"
    client = twitchio.Client(client_id=shell.client.client_id, client_secret="secret")
    await client.load_tokens(str(folder / "none.json"))
    await client.add_token(pair.access_token, pair.refresh_token)
    await client.save_tokens(str(file))
    await client.close()
    return file


async def by_pytwitchapi(shell: Shell, pair: Pair, folder: Path) -> Path:
    """What pyTwitchAPI's storage helper writes after a login."""
    file = folder / "user_token.json"
    twitch = await Twitch(
        shell.client.client_id,
        authenticate_app=False,
        base_url=shell.twitch.api_url,
        auth_base_url=shell.twitch.id_url,
    )

    async def sign_in(_twitch: Twitch, _scopes: list[AuthScope]) -> tuple[str, str]:
        return pair.access_token, pair.refresh_token

    helper = UserAuthenticationStorageHelper(
        twitch, [AuthScope.CHAT_READ], storage_path=file, auth_generator_func=sign_in
    )
    await helper.bind()  # type: ignore[no-untyped-call]
    await twitch.close()
    return file


async def by_twurple(_: Shell, pair: Pair, folder: Path) -> Path:
    """What the `onRefresh` of twurple's documentation writes: an `AccessToken`."""
    file = folder / f"tokens.{pair.user_id}.json"
    token = {
        "accessToken": pair.access_token,
        "refreshToken": pair.refresh_token,
        "scope": [SCOPE],
        "expiresIn": 14124,
        "obtainmentTimestamp": 1767225600000,
    }
    file.write_text(json.dumps(token, indent=4))
    return file


async def by_twitch_cli(shell: Shell, pair: Pair, folder: Path) -> Path:
    """What `twitch configure` and `twitch token -u` write."""
    file = folder / ".twitch-cli.env"
    settings = {
        "ACCESSTOKEN": pair.access_token,
        "CLIENTID": shell.client.client_id,
        "CLIENTSECRET": "a-secret",
        "REFRESHTOKEN": pair.refresh_token,
        "TOKENEXPIRATION": "2026-01-01T04:00:00.123456789Z",
        "TOKENSCOPES": f"[{SCOPE}]",
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return file


SAVERS: dict[str, Save] = {
    "TwitchIO": by_twitchio,
    "pyTwitchAPI": by_pytwitchapi,
    "twurple": by_twurple,
    "twitch-cli": by_twitch_cli,
}


@pytest.fixture(autouse=True)
def at_the_double(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """TwitchIO asks the double, and leaves its files in the test's folder."""
    monkeypatch.chdir(shell.folder)
    monkeypatch.setattr(Route, "BASE", shell.twitch.api_url)
    monkeypatch.setattr(Route, "ID_BASE", f"{shell.twitch.url}/")


@pytest.fixture
def pair(shell: Shell) -> Pair:
    """A pair of alice's, which another program has."""
    return shell.twitch.issue(shell.client, "alice", [SCOPE])


async def record_of(shell: Shell) -> Record:
    """What is stored for alice."""
    return decode((await shell.entries())["client:1001"], "1001")


@pytest.mark.parametrize("library", SAVERS)
async def test_a_file_is_taken_over(shell: Shell, pair: Pair, library: str) -> None:
    """The pair is the vault's, with what Twitch says of it; nothing is refreshed."""
    file = await SAVERS[library](shell, pair, shell.folder)
    outcome = await shell.run("import", str(file))
    assert outcome.out == "alice\t1001\timported\tclient\t-\n"
    assert "Stop the program" in outcome.err
    record = await record_of(shell)
    assert record.pair == (pair.access_token, pair.refresh_token)
    assert (record.login, record.scopes) == ("alice", (SCOPE,))
    assert shell.twitch.counts.exchanges == 0


@pytest.mark.parametrize("library", SAVERS)
async def test_an_expired_pair_is_stored_and_named(shell: Shell, pair: Pair, library: str) -> None:
    """Its refresh token is left alone; the code is 1. Where the file does not say whose it is,
    --user does.
    """
    file = await SAVERS[library](shell, pair, shell.folder)
    shell.twitch.expire_access("alice")
    arguments = ["import", str(file)]
    if library in {"pyTwitchAPI", "twitch-cli"}:
        outcome = await shell.run(*arguments, code=2)
        assert "add --user ID" in outcome.out
        arguments += ["--user", "1001"]
    outcome = await shell.run(*arguments, code=1)
    assert outcome.out.startswith("1001\t1001\tunvalidated\t")
    assert (await record_of(shell)).pair == (pair.access_token, pair.refresh_token)
    assert shell.twitch.counts.refused_refreshes == shell.twitch.counts.exchanges == 0
    await shell.run("check")
    assert (shell.twitch.counts.exchanges, shell.twitch.counts.replays) == (1, 0)


async def test_the_same_file_again(shell: Shell, pair: Pair) -> None:
    """An expired pair that stands already is called unchanged, and needs a refresh as before."""
    file = await by_twurple(shell, pair, shell.folder)
    shell.twitch.expire_access("alice")
    await shell.run("import", str(file), code=1)
    outcome = await shell.run("import", str(file), code=1)
    assert outcome.out.startswith("1001\t1001\tunchanged\t")


async def test_a_user_id_is_a_number(shell: Shell, pair: Pair) -> None:
    """A login name in the place of an id, as an option or in the file, stores nothing."""
    file = await by_pytwitchapi(shell, pair, shell.folder)
    shell.twitch.expire_access("alice")
    outcome = await shell.run("import", str(file), "--user", "alice", code=2)
    assert outcome.err == (
        "twitchvault: --user takes a user's id, which is a number, and no login name: 'alice'\n"
    )
    content = {"alice": {"token": pair.access_token, "refresh": pair.refresh_token}}
    file.write_text(json.dumps(content))
    outcome = await shell.run("import", str(file), code=2)
    assert "holds a user id that is not a number" in outcome.err
    assert not shell.file.exists()


async def test_an_expired_pair_does_not_replace_a_live_login(shell: Shell, pair: Pair) -> None:
    """Whoever is in the vault already keeps the tokens that work."""
    file = await by_twurple(shell, pair, shell.folder)
    shell.twitch.expire_access("alice")
    good = await shell.sign_in("alice")
    outcome = await shell.run("import", str(file))
    assert outcome.out.startswith("1001\t1001\tnewer\t")
    assert (await record_of(shell)).pair == (good.access_token, good.refresh_token)


async def test_foreign_tokens_stay_out(shell: Shell, pair: Pair) -> None:
    """Another client's token, another user's and an application's are named and not stored; the
    others in the file are.
    """
    other = shell.twitch.register_client()
    foreign = shell.twitch.issue(other, "bob", [SCOPE])
    tokens = {"1001": pair.access_token, "1002": foreign.access_token, "1003": pair.access_token}
    content = {
        user_id: {"user_id": user_id, "token": token, "refresh": pair.refresh_token}
        for user_id, token in tokens.items()
    }
    file = shell.folder / ".tio.tokens.json"
    file.write_text(json.dumps(content))
    outcome = await shell.run("import", str(file), code=2)
    assert outcome.out.splitlines() == [
        "alice\t1001\timported\tclient\t-",
        f"1002\t1002\trefused\tclient\tit belongs to another client id, {other.client_id}",
        "1003\t1003\trefused\tclient\tit belongs to 1001",
    ]
    assert [*await shell.entries()] == ["client:1001"]


async def test_one_document_for_programs(shell: Shell, pair: Pair) -> None:
    """--json names the store, and each user with what became of the pair."""
    file = await by_pytwitchapi(shell, pair, shell.folder)
    outcome = await shell.run("import", "--json", str(file))
    whose = {"client_id": "client", "user_id": "1001", "login": "alice"}
    user = {**whose, "outcome": "imported", "reason": None}
    assert outcome.json == {"store": str(shell.file), "users": [user]}


async def test_twitch_away_is_no_word_about_a_token(shell: Shell, pair: Pair) -> None:
    """When Twitch cannot answer nothing is stored, and the code is 2."""
    file = await by_twurple(shell, pair, shell.folder)
    shell.twitch.fail("validate", status=500, times=None)
    outcome = await shell.run("import", str(file), code=2)
    assert "1001\t1001\trefused\t" in outcome.out
    assert await shell.entries() == {}


async def test_too_many_requests_are_waited_for(
    shell: Shell, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 429 is no word about a token either: it is asked again, and given up in the end."""
    monkeypatch.setattr(import_, "PAUSE", 0.0)
    found = FoundPair(pair.access_token, pair.refresh_token)
    async with shell.app() as app:
        shell.twitch.fail("validate", status=429, times=2)
        assert (await import_.import_pair(app, found)).outcome == "imported"
        shell.twitch.fail("validate", status=429, times=import_.TRIES)
        assert (await import_.import_pair(app, found)).outcome == "refused"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"a": 1}',
        b"[" * 100_000,
        b"A" * 1_000_000,
        b'{"1": {"token": "a b"}}',
    ],
)
async def test_a_file_of_another_kind_is_refused(shell: Shell, content: bytes) -> None:
    """The fault is named, in no time, without what is in the file, and no store is made."""
    file = shell.folder / "file.json"
    file.write_bytes(content)
    outcome = await shell.run("import", str(file), code=2)
    assert repr(str(file)) in outcome.err
    assert "expected TwitchIO's .tio.tokens.json" in outcome.err
    assert not shell.file.exists()


async def test_importing_at_a_terminal(shell: Shell, pair: Pair) -> None:
    """Each user has a sentence."""
    file = await by_twurple(shell, pair, shell.folder)
    text = await shell.screen("import", str(file))
    assert "alice (1001): imported\n" in text
