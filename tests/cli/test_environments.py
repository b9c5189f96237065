"""What the command does in environments that nobody wishes for: one line, an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .command import Shell

MAIN = "from twitchvault.cli import main; main()"


@pytest.mark.parametrize("home", [None, "/", "/dev/null", "/proc", "relative"])
async def test_a_home_that_is_none(shell: Shell, home: str | None) -> None:
    """Whatever HOME is, no command shows a traceback, and one that reads makes nothing."""
    listed = await shell.run("list", code=2, HOME=home, XDG_DATA_HOME=None, TWITCHVAULT_STORE=None)
    assert listed.out == ""
    assert listed.err.startswith("twitchvault: ")
    assert listed.err.count("\n") == 1
    if home in {"/dev/null", "/proc"}:
        login = await shell.run(
            "login", code=2, HOME=home, XDG_DATA_HOME=None, TWITCHVAULT_STORE=None
        )
        assert login.out == ""
        folder = f"'{home}/.local/share/twitchvault'"
        assert login.err.startswith(f"twitchvault: the folder {folder} cannot be made (")


async def test_a_reader_who_leaves_early(shell: Shell) -> None:
    """`twitchvault list | head -1` ends quietly with 141, also for JSON and for help."""
    await shell.sign_in("alice")
    for arguments in (["list"], ["list", "--json"], ["--help"]):
        ours, theirs = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MAIN, *arguments),
            stdout=theirs,
            stderr=asyncio.subprocess.PIPE,
            env=shell.environment,
        )
        os.close(theirs)
        os.close(ours)
        _, err = await process.communicate()
        assert process.returncode == 141, err
        assert err.decode() in {"", shell.named()}


async def test_an_output_that_is_full_or_closed(shell: Shell) -> None:
    """A full disk is a failure that is said; without any stream the exit code is all there is."""
    await shell.sign_in("alice")
    for redirected, code in (("> /dev/full", 2), ("0<&- >&-", 0), ("0<&- >&- 2>&-", 0)):
        line = f'exec "{sys.executable}" -c "{MAIN}" list {redirected}'
        process = await asyncio.create_subprocess_shell(
            line, stderr=asyncio.subprocess.PIPE, env=shell.environment
        )
        _, err = await process.communicate()
        assert process.returncode == code, err
        assert b"Traceback" not in err
        assert (b"cannot be written: No space left" in err) == (code == 2)


async def test_a_background_job_of_a_script_can_be_ended(shell: Shell) -> None:
    """A shell starts it with SIGINT ignored; SIGTERM ends it as it ends any other."""
    line = f'trap \'\' INT; exec "{sys.executable}" -c "{MAIN}" fake --port 0'
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=shell.environment
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            assert b"Ctrl-C ends the double" in await process.stderr.readline()
            process.send_signal(signal.SIGINT)
            process.terminate()
            assert await process.stderr.read() == b"Stopped.\n"
            assert await process.wait() == 128 + signal.SIGTERM
    finally:
        with suppress(ProcessLookupError):
            process.kill()


async def test_requests_go_through_the_proxy(shell: Shell) -> None:
    """The usual variables name it, and those hosts for which there is none."""
    await shell.sign_in("alice")
    elsewhere = ("--id-url", "http://id.invalid/oauth2/", "--api-url", "http://api.invalid/helix/")
    proxy: dict[str, Any] = {"http_proxy": shell.twitch.url}
    await shell.run("check", *elsewhere, **proxy)
    direct = await shell.run("check", *elsewhere, code=2, **proxy, no_proxy="id.invalid")
    assert "no answer from id.invalid" in direct.err


async def test_ctrl_c_while_twitch_is_slow(shell: Shell) -> None:
    """130 and one word, at a terminal too, where the bar is taken away."""
    await shell.sign_in("alice")
    shell.twitch.hold("validate")
    async with shell.terminal("check") as terminal:
        await terminal.see("0/1")
        assert await terminal.interrupted() == 130
    assert terminal.text.endswith("Stopped.\n")
    assert "\x1b[?25h" in terminal.text


async def test_misuse_is_said_in_the_words_of_the_command(shell: Shell) -> None:
    """An unknown command or option, a missing argument: 2, and nothing on standard output."""
    for arguments in (["fly"], ["list", "--fly"], ["show"], ["login", "--port", "0"]):
        outcome = await shell.run(*arguments, code=2)
        assert outcome.out == ""
        assert "Error: " in outcome.err
    # In a pipe on one line, without a box around it.
    long = await shell.run("list", f"--{'long' * 20}", code=2, COLUMNS="40")
    assert f"Error: No such option: --{'long' * 20}" in long.err
    bare = await shell.run(code=2)
    assert "Usage: twitchvault" in bare.out + bare.err
