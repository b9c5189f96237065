"""`twitchvault list`, and what it shares with `show`: who is in a store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twitchvault.vault.record import Record

if TYPE_CHECKING:
    from .command import Shell

SCOPES = "chat:read chat:edit bits:read user:read:email channel:manage:broadcast"
EVIL = "al\x1b[31mice\u202e"
ESCAPED = r"al\x1b[31mice\u202e"
COLUMNS = 8


async def test_an_empty_store_is_said_to_be_empty(shell: Shell) -> None:
    """Nobody is no line of data, a sentence on standard error, and no failure."""
    await shell.fill({})
    outcome = await shell.run("list")
    assert outcome.out == ""
    assert outcome.err == shell.named("Nobody is in the store.\n")
    as_json = await shell.run("list", "--json")
    assert as_json.json == {"store": str(shell.file), "users": []}


async def test_list_in_a_pipe(confidential: Shell) -> None:
    """Whatever the terminal is, each user is one whole line, in UTC, and Twitch is not asked."""
    await confidential.sign_in("alice", SCOPES)
    await confidential.sign_in("bob", "bits:read")
    before = len(confidential.twitch.requests)
    outcome = await confidential.run("list", COLUMNS="20", TZ="Asia/Tokyo", FORCE_COLOR="1")
    assert list(outcome.rows) == ["alice", "bob"]
    alice = outcome.rows["alice"]
    assert alice[1:3] == ["1001", "live"]
    assert alice[5:] == [confidential.client.client_id, SCOPES, "-"]
    listed = (await confidential.run("list", "--json", TZ="Asia/Tokyo")).json["users"][0]
    assert alice[3:5] == [listed["last_validated"], listed["expires_at"]]
    assert listed["last_validated"].endswith("Z")
    assert len(confidential.twitch.requests) == before


async def test_json_says_all_that_is_known(shell: Shell) -> None:
    """`list` has a document of all users, `show` one of a user with the history; no token."""
    await shell.sign_in("alice")
    reason = "the user has disconnected the application"
    unknown = Record("token", None, state="needs_login", reason=reason)
    await shell.fill({"client:1002": unknown})
    users = (await shell.run("list", "--json")).json["users"]
    assert [user["user_id"] for user in users] == ["1002", "1001"]
    assert users[0] == {
        "client_id": shell.client.client_id,
        "user_id": "1002",
        "login": None,
        "state": "needs_login",
        "reason": reason,
        "scopes": [],
        "last_validated": None,
        "expires_at": None,
    }
    shown = (await shell.run("show", "alice", "--json")).json
    assert shown.items() >= users[1].items()
    assert (shown["state"], shown["reason"], shown["scopes"]) == ("live", None, ["chat:read"])


async def test_control_characters_are_harmless(shell: Shell) -> None:
    """What a record holds cannot colour, move or turn around what a terminal shows."""
    reason = "on two\nlines\t\x07"
    record = Record("token", None, login=EVIL, state="needs_login", reason=reason, scopes=(EVIL,))
    await shell.fill({"client:1001": record})
    listed = await shell.run("list")
    assert list(listed.rows) == [ESCAPED]
    assert len(listed.rows[ESCAPED]) == COLUMNS
    shown = await shell.run("show", "1001", LC_ALL="C", PYTHONUTF8="0")
    terminal = await shell.screen("list")
    for text in (listed.out, shown.out, terminal):
        assert ESCAPED in text
        assert EVIL not in text
        assert not {"\u202e", "\x07"} & set(text)
    assert (await shell.run("list", "--json")).json["users"][0]["login"] == EVIL


async def test_a_terminal_shows_a_table(shell: Shell) -> None:
    """With ages for people and a reason below; at 20 columns it is narrow, and no failure."""
    await shell.sign_in("alice")
    await shell.fill(
        {"client:1002": Record("token", None, state="needs_login", reason="disconnected")}
    )
    terminal = await shell.screen("list")
    assert f"Application \x1b[1m{shell.client.client_id}" in terminal
    assert " ago " in terminal
    assert "1002: disconnected\n" in terminal
    narrow = await shell.screen("list", COLUMNS="20")
    assert "alice" in narrow
    shown = await shell.screen("show", "alice", COLUMNS="20")
    assert re.search(r"validated: +\d+ s ago\n", shown)
    assert re.search(r"expires: +in 3 h \d+ min\n", shown)


async def test_list_shows_one_application_if_asked(shell: Shell) -> None:
    """--client-id leaves the users of other applications out."""
    await shell.sign_in("alice")
    outcome = await shell.run("list", "--client-id", "another")
    assert outcome.out == ""


async def test_a_damaged_record_is_listed_as_such(shell: Shell) -> None:
    """A record that cannot be read is named, and hides nobody else."""
    await shell.sign_in("alice")
    await shell.damage("client:1003")
    listed = (await shell.run("list")).rows
    assert listed["1003"][2] == "damaged"
    assert "the record of user '1003' is damaged" in listed["1003"][-1]
    assert listed["alice"][2] == "live"
    await shell.run("show", "1003")
