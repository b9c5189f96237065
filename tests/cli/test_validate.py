"""`twitchvault validate`: what it asks Twitch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .command import Shell


async def test_a_good_token_is_only_validated(shell: Shell) -> None:
    """One request for the user who is named; the store learns the time."""
    alice, bob = await shell.sign_in("alice"), await shell.sign_in("bob")
    asked = [len(shell.twitch.validations_of(pair.access_token)) for pair in (alice, bob)]
    await shell.run("validate", "alice")
    now = [len(shell.twitch.validations_of(pair.access_token)) for pair in (alice, bob)]
    assert now == [asked[0] + 1, asked[1]]
    assert shell.twitch.counts.exchanges == 0
