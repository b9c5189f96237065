"""The package: lazy exports, one list of commands, and errors for a test's own mistakes."""

from __future__ import annotations

import pytest

from twitchvault.testing import FakeTwitch
from twitchvault.testing.fake import RemoteTwitch
from twitchvault.testing.fake.process import COMMANDS


def test_every_command_exists_on_both_sides() -> None:
    """A double in another process takes the same commands."""
    for name in COMMANDS - {"release", "reached"}:
        assert hasattr(FakeTwitch, name)
        assert hasattr(RemoteTwitch, name), name


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("add_user", ["Alice"], "'login': expected 1 to 25"),
        ("add_user", ["bob"], "'login': 'bob' is taken"),
        ("issue", ["nobody", "bob"], "unknown client 'nobody'"),
        ("change_password", ["nobody"], "unknown user 'nobody'"),
        ("approve", ["ABCDEFGH", "bob"], "no device login waits"),
        ("kill_access_token", ["x"], "no such access token"),
        ("advance", [-1], "only goes forward"),
        ("release", [7], "unknown gate 7"),
    ],
)
def test_commands_refuse_nonsense(command: str, arguments: list[object], text: str) -> None:
    """A test's mistake is an error at once, with its name in it."""
    twitch = FakeTwitch()
    twitch.add_user("bob")
    with pytest.raises(ValueError, match=text):
        getattr(twitch, command)(*arguments)


def test_switches_are_checked() -> None:
    """An unknown switch, setting or choice is refused, naming what there is."""
    twitch = FakeTwitch()
    with pytest.raises(TypeError, match="unknown switch 'fastpoll'; there are: app_answer"):
        twitch.register_client(fastpoll="kill")
    with pytest.raises(ValueError, match="switch 'fast_poll': expected one of"):
        twitch.register_client(fast_poll="slowly")
    with pytest.raises(TypeError, match="unknown switch 'nothing'"):
        FakeTwitch(nothing=1)
    with pytest.raises(ValueError, match="a public client has none"):
        twitch.register_client(public=True, client_secret="s")
    with pytest.raises(ValueError, match="has no secret"):
        twitch.rotate_secret(twitch.register_client(public=True))


def test_reprs_hide_secrets() -> None:
    """No repr of what a test holds shows a token or a secret."""
    twitch = FakeTwitch()
    client = twitch.register_client()
    pair = twitch.issue(client, twitch.add_user("alice"))
    text = repr((client, pair, twitch.counts))
    assert not any(secret in text for secret in twitch.secrets)
