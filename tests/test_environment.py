"""`App.from_env`, and how each variable is read."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from twitchvault import (
    App,
    DecryptionError,
    DeviceCodeFlow,
    FernetStore,
    MemoryStore,
    MissingDriver,
    SQLiteStore,
    environment,
)
from twitchvault.testing import FakeTwitch

if TYPE_CHECKING:
    from pathlib import Path

KEY, OLD = (Fernet.generate_key().decode() for _ in range(2))
ID = "TWITCHVAULT_CLIENT_ID"
NAMES = tuple(environment.VARIABLES)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable but those of the test; the data folder is one of its own."""
    for name in (*NAMES, "KEY"):
        monkeypatch.delenv(f"TWITCHVAULT_{name}", raising=False)
        monkeypatch.delenv(f"TWITCHVAULT_{name}_FILE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


async def test_a_flow_from_its_environment(
    monkeypatch: pytest.MonkeyPatch, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Secrets come from files, the store is encrypted, and `close()` closes it."""
    async with FakeTwitch(seed=1) as twitch:
        client = twitch.register_client()
        (folder / "secret").write_text(f"{client.client_secret}\n")
        (folder / "keys").write_text(f"{KEY}\n{OLD}\n")
        monkeypatch.setenv(ID, client.client_id)
        monkeypatch.setenv("TWITCHVAULT_CLIENT_SECRET_FILE", str(folder / "secret"))
        monkeypatch.setenv("TWITCHVAULT_KEY_FILE", str(folder / "keys"))
        monkeypatch.setenv("TWITCHVAULT_STORE", f"sqlite:///{folder}/bot.db")
        monkeypatch.setenv("TWITCHVAULT_ID_URL", twitch.id_url)
        monkeypatch.setenv("TWITCHVAULT_API_URL", twitch.api_url)
        pair = twitch.issue(client, twitch.add_user("alice", user_id="1001"), [])
        async with DeviceCodeFlow.from_env(maintain=False) as flow:
            assert type(flow) is DeviceCodeFlow
            await flow.add_user(pair.access_token, pair.refresh_token)
        async with DeviceCodeFlow.from_env(maintain=False) as flow:
            assert flow.get_token("1001") is not None
        inner = SQLiteStore(folder / "bot.db")
        with pytest.raises(DecryptionError):
            async with App(client.client_id, store=inner, maintain=False):
                pass
        await inner.close()
    del flow, inner
    gc.collect()  # a store that was left open would warn now
    assert not caplog.records


async def test_without_a_store_there_is_one_file(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """It lies in a private folder of the user's; `store=` stands in its place."""
    monkeypatch.setenv(ID, "client")
    App.from_env(store=MemoryStore())
    assert not (folder / "twitchvault").exists()
    async with FakeTwitch() as twitch, App.from_env(id_url=twitch.id_url) as app:
        assert app.http.client_id == "client"
    assert (folder / "twitchvault" / "tokens.db").stat().st_size > 0
    if sys.platform != "win32":
        assert (folder / "twitchvault").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["KEYS", "NAMESPACE"])
def test_a_store_that_is_passed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the environment says of the store is not ignored: nobody writes plaintext unawares."""
    key = Fernet.generate_key().decode()
    monkeypatch.setenv("TWITCHVAULT_CLIENT_ID", "client")
    monkeypatch.setenv(f"TWITCHVAULT_{name}", key)
    with pytest.raises(ValueError, match=f"TWITCHVAULT_{name} "):
        App.from_env(store=MemoryStore())
    if name == "KEYS":
        App.from_env(store=FernetStore(MemoryStore(), key))
        monkeypatch.setenv("TWITCHVAULT_STORE", "no scheme")
        with pytest.raises(ValueError, match="has no scheme"):
            App.from_env(store=None)


def test_a_missing_client_id_is_named() -> None:
    """Both names of the variable; an override will do."""
    with pytest.raises(ValueError, match=r"no client id: set TWITCHVAULT_CLIENT_ID or TWITCHV"):
        App.from_env()
    assert App.from_env(client_id="client").http.client_id == "client"


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_may_stand_in_a_file(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str
) -> None:
    """A newline at the end does not count; empty, missing or given twice is an error with names."""
    here, there = f"TWITCHVAULT_{name}", f"TWITCHVAULT_{name}_FILE"
    file = folder / "value"
    file.write_bytes(b"some value\r\n")
    monkeypatch.setenv(there, str(file))
    assert read(name) == ("some,value" if name == "KEYS" else "some value")
    monkeypatch.setenv(here, "other")
    with pytest.raises(ValueError, match=rf"{here} and {there} are both set"):
        read(name)
    monkeypatch.setenv(here, "")
    monkeypatch.delenv(there)
    with pytest.raises(ValueError, match=rf"{here} is empty"):
        read(name)
    monkeypatch.delenv(here)
    assert read(name) is None
    for content in (b"", b"\n"):
        file.write_bytes(content)
        monkeypatch.setenv(there, str(file))
        with pytest.raises(ValueError, match=r"value' .*is empty|value' is empty"):
            read(name)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"no text in UTF-8"):
        read(name)
    monkeypatch.setenv(there, str(folder / "away"))
    with pytest.raises(ValueError, match=r"away'.* cannot be read: No such file"):
        read(name)


def read(name: str) -> str | None:
    """The value of a variable; keys with commas between them."""
    if name != "KEYS":
        return environment.setting(name)
    keys = environment.keys()
    return None if keys is None else ",".join(keys.values)


def test_keys_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas or newlines stand between them; a wrong one is named by its place, and not shown."""
    monkeypatch.setenv("TWITCHVAULT_KEYS", f"{KEY},\n{OLD}\n")
    keys = environment.keys()
    assert keys is not None
    assert keys.values == [KEY, OLD]
    assert KEY not in repr(keys)
    monkeypatch.setenv("TWITCHVAULT_KEYS", f"{KEY},{OLD[1:]}")
    with pytest.raises(ValueError, match=r"^TWITCHVAULT_KEYS: key 2 is not a Fernet key") as caught:
        App.from_env(client_id="client", store="memory://")
    assert OLD[1:] not in str(caught.value)
    monkeypatch.setenv("TWITCHVAULT_KEY_FILE", "keys")
    with pytest.raises(ValueError, match=r"TWITCHVAULT_KEYS and TWITCHVAULT_KEY_FILE are both"):
        environment.keys()


def test_a_namespace_is_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches a Redis store, and is an error with any other: it would have no effect."""
    monkeypatch.setenv("TWITCHVAULT_NAMESPACE", "bots")
    monkeypatch.setenv("TWITCHVAULT_STORE", "redis://localhost")
    assert "bots" in repr(environment.make_store("redis://localhost", namespace="bots"))
    App.from_env(client_id="client")
    monkeypatch.setenv("TWITCHVAULT_STORE", "memory://")
    with pytest.raises(ValueError, match=r"TWITCHVAULT_NAMESPACE is for a store on a Redis server"):
        App.from_env(client_id="client")


def test_a_data_folder_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home folder, or without the package that knows it, a sentence says what to do."""
    if sys.platform != "win32":
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.delenv("XDG_DATA_HOME")
        monkeypatch.setattr(os, "getuid", lambda: 54_321)  # as in a container, where no user has it
        with pytest.raises(ValueError, match=r"no home folder here: name a store, TWITCHVAULT_S"):
            environment.default_store()
        monkeypatch.setenv("XDG_DATA_HOME", "/tmp/\udcff")  # noqa: S108 - nothing is made there
        with pytest.raises(ValueError, match=r"is no UTF-8: name a store, TWITCHVAULT_STORE"):
            environment.default_store()
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(MissingDriver, match=r"'platformdirs': pip install 'twitchvault\[sqlite\]'"):
        environment.default_store()
