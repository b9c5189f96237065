"""`twitchvault show`: what is known of one user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twitchvault.vault.record import Record

if TYPE_CHECKING:
    from .command import Shell


async def test_show_in_a_pipe(shell: Shell) -> None:
    """By login in any case, or by id; one line for each thing; the exit code does not judge."""
    await shell.sign_in("alice")
    await shell.put("1002", Record("token", None, state="needs_login", reason="disconnected"))
    by_login, by_id = await shell.run("show", "ALICE"), await shell.run("show", "1002")
    assert by_login.code == by_id.code == 0
    assert by_login.err == shell.named()
    lines = dict(line.split(":", 1) for line in by_login.out.splitlines())
    assert lines["user"].strip() == "alice (1001)"
    assert lines["scopes"].strip() == "chat:read"
    assert lines["validated"].strip().endswith("Z")
    assert "disconnected" in by_id.out
    nobody = await shell.run("show", "nobody")
    assert nobody.code == 2
    assert "no user 'nobody' in the store; 'twitchvault list' shows who is there" in nobody.err
