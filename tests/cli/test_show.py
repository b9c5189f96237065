"""`twitchvault show`: what is known of one user."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from twitchvault.vault.record import Record

if TYPE_CHECKING:
    from .command import Shell


async def test_show_in_a_pipe(shell: Shell) -> None:
    """By login in any case, or by id; one line for each thing; the exit code does not judge."""
    await shell.sign_in("alice")
    await shell.fill(
        {"client:1002": Record("token", None, state="needs_login", reason="disconnected")}
    )
    by_login, by_id = await shell.run("show", "ALICE"), await shell.run("show", "1002")
    assert by_login.err == shell.named()
    lines = dict(line.split(":", 1) for line in by_login.out.splitlines())
    assert lines["user"].strip() == "alice (1001)"
    assert lines["scopes"].strip() == "chat:read"
    assert lines["validated"].strip().endswith("Z")
    assert "disconnected" in by_id.out
    nobody = await shell.run("show", "nobody", code=2)
    assert "no user 'nobody' in the store; 'twitchvault list' shows who is there" in nobody.err


async def test_what_happened_to_a_user(shell: Shell) -> None:
    """The history says when, what, by which process and why; never a token."""
    await shell.sign_in("alice")
    shell.twitch.disconnect(shell.client, "alice")
    await shell.run("refresh", "alice", code=1)
    shown = await shell.run("show", "alice", "--json")
    first, last = shown.json["history"]
    assert (first["kind"], first["before"], first["reason"]) == ("added", None, None)
    assert (first["host"], first["pid"]) == (socket.gethostname(), os.getpid())
    assert first["at"].endswith("Z")
    assert last["kind"] == "needs_login"
    assert last["before"] == last["after"] == first["after"]
    assert "Invalid refresh token" in last["reason"]
    lines = (await shell.run("show", "alice")).out.splitlines()
    history = [line for line in lines if line.startswith("history: ")]
    assert len(history) == 2
    assert f"needs_login  by {last['host']}/{last['pid']}  pair {last['before']}" in history[1]
    assert history[1].endswith(last["reason"])
