"""Tries the installed package: `python -I tests/installed.py bare`, or `all` if it has all extras.

It needs nothing but the package itself, as a user's environment does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import twitchvault as tv
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT: Final = Path(sysconfig.get_path("scripts")) / "twitchvault"
DRIVERS: Final[dict[str, tuple[str, Callable[[], tv.TokenStore]]]] = {
    "sqlite": ("aiosqlite", lambda: tv.open_store("sqlite:///tokens.db")),
    "redis": ("redis", lambda: tv.open_store("redis://localhost")),
    "fernet": ("cryptography", lambda: tv.FernetStore(tv.MemoryStore(), ["key"])),
}


async def sign_in(store: tv.TokenStore | str | None) -> None:
    """Sign a user in at the double, with the tokens in this store, and ask Helix who it is."""
    async with FakeTwitch() as twitch:
        client = twitch.register_client(public=True)
        pair = twitch.issue(client, twitch.add_user("alice"), ["chat:read"])
        flow = tv.DeviceCodeFlow(
            client.client_id, store=store, id_url=twitch.id_url, api_url=twitch.api_url
        )
        async with flow:
            user = await flow.add_user(pair.access_token, pair.refresh_token)
            await user.refresh()
            assert (await user.get_user()).login == "alice"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    return subprocess.run([SCRIPT, *arguments], check=False, capture_output=True, text=True)


def refusal(make: Callable[[], tv.TokenStore]) -> str:
    """What the error says that a store raises whose driver is missing."""
    try:
        make()
    except tv.MissingDriver as error:
        return str(error)
    return "no error: this environment is not bare"


def try_bare() -> None:
    """Each missing driver is named with what installs it; the rest works."""
    for extra, (driver, make) in DRIVERS.items():
        text = refusal(make)
        assert f"'{driver}'" in text, text
        assert f"pip install 'twitchvault[{extra}]'" in text, text
    asyncio.run(sign_in(None))
    run = command("list")
    assert run.returncode == 2, run
    assert "pip install 'twitchvault[cli]'" in run.stderr, run


def try_all() -> None:
    """Every store can be made, and the command runs."""
    from cryptography.fernet import Fernet  # noqa: PLC0415 - the bare environment has none

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder).as_posix()}/tokens.db"
        asyncio.run(sign_in(tv.FernetStore(tv.open_store(url), [Fernet.generate_key()])))
    tv.open_store("redis://localhost")
    run = command("--version")
    assert run.stdout.split() == ["twitchvault", metadata.version("twitchvault")], run
    assert command("login", "--help").returncode == 0


if __name__ == "__main__":
    assert resources.files(tv).joinpath("py.typed").is_file()
    assert "site-packages" in tv.__file__, f"{tv.__file__} is not the installed package"
    {"bare": try_bare, "all": try_all}[sys.argv[1]]()
    print(f"twitchvault {metadata.version('twitchvault')}: {sys.argv[1]} is fine")
