"""What the environment says: the variables `TWITCHVAULT_*`, for `App.from_env` and the command.

`TWITCHVAULT_<NAME>_FILE` may name a file that holds the value, as Docker and systemd hand out
secrets. Every error is a `ValueError` that names the variable, and none shows a value.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from twitchvault import stores
from twitchvault.errors import StoreError, WrongValue
from twitchvault.stores.base import missing_driver
from twitchvault.stores.url import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twitchvault.stores import TokenStore

VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CLIENT_ID": "the application's id, from Twitch's developer console",
        "CLIENT_SECRET": "the application's secret; not set for a public client",
        "STORE": "the URL of the store; not set: a SQLite file in the user's data folder",
        "NAMESPACE": "the namespace in a Redis store; not set: `twitchvault`",
        "KEYS": "the store is encrypted: Fernet keys with commas or newlines between them; the "
        "first encrypts, all decrypt",
        "ID_URL": "another identity service than Twitch's",
        "API_URL": "another Helix API than Twitch's",
    }
)
"""What follows TWITCHVAULT_ in each variable's name, and what it means."""
_ARGUMENTS: Final = ("CLIENT_ID", "CLIENT_SECRET", "ID_URL", "API_URL")
_KEY_FILE: Final = "KEY_FILE"
"""Another name of KEYS_FILE."""
_LONGEST: Final = 1 << 20
"""Bytes of a file: a device would never end."""
_SERVERS: Final = ("redis://", "rediss://", "unix://")


class Keys(NamedTuple):
    """Fernet keys, and where they stand: in a variable, or in the file of that `path`."""

    source: str
    values: list[str]
    path: Path | None = None

    def __repr__(self) -> str:
        return f"Keys(source={self.source!r})"


def arguments(overrides: dict[str, Any]) -> tuple[dict[str, Any], TokenStore | None]:
    """The arguments of `App`, with the overrides; and the store among them if it was made here."""
    found = {name.lower(): setting(name) for name in _ARGUMENTS if name.lower() not in overrides}
    settings = {name: value for name, value in found.items() if value is not None} | overrides
    if settings.get("client_id") is None:
        names = variable("CLIENT_ID"), variable("CLIENT_ID_FILE")
        raise WrongValue(f"there is no client id: set {' or '.join(names)}")
    given = overrides.get("store")
    if given is not None and not isinstance(given, str):
        _check_given(given)
        return settings, None
    url = given or setting("STORE") or default_store(make=True)
    store = make_store(url, namespace=setting("NAMESPACE"), keys=keys())
    return settings | {"store": store}, store


def _check_given(store: TokenStore) -> None:
    """Whoever set the keys believes that the store is encrypted."""
    found = keys()
    if found is not None and not isinstance(store, stores.FernetStore):
        msg = f"{found.source} is set, and the store that was passed is not encrypted: pass "
        raise WrongValue(msg + "FernetStore(store, keys), or unset the variable")
    if setting("NAMESPACE") is not None:
        msg = f"{variable('NAMESPACE')} says nothing of a store that was passed: unset it, and "
        raise WrongValue(msg + "give the namespace to the store")


def variable(name: str) -> str:
    """The whole name of a variable."""
    return f"TWITCHVAULT_{name}"


def setting(name: str) -> str | None:
    """The value of TWITCHVAULT_<name>, there or in a file; None if neither is set."""
    found = _only_one(name, f"{name}_FILE")
    if found != f"{name}_FILE":
        return os.environ.get(variable(name))
    path = _path(found)
    source = f"the file {str(path)!r} of {variable(found)}"
    text = _content(path, source)
    if not text.strip():
        raise WrongValue(f"{source} is empty")
    return text


def keys() -> Keys | None:
    """The Fernet keys, with commas or white space between them; None if there are none."""
    found = _only_one("KEYS", "KEYS_FILE", _KEY_FILE)
    if found is None:
        return None
    if found != "KEYS":
        return key_file(_path(found))
    return _keys(variable(found), os.environ[variable(found)])


def key_file(path: Path) -> Keys:
    """The Fernet keys in a file."""
    source = f"the key file {str(path)!r}"
    return _keys(source, _content(path, source), path)


def _keys(source: str, text: str, path: Path | None = None) -> Keys:
    values = re.split(r"[\s,]+", text.strip(", \t\r\n"))
    if values == [""]:
        raise WrongValue(f"{source} is empty: it holds Fernet keys, one a line")
    return Keys(source, values, path)


def _only_one(*names: str) -> str | None:
    """The one of these variables that is set; an error if there are several, or it is empty."""
    found = [name for name in names if variable(name) in os.environ]
    if len(found) > 1:
        raise WrongValue(f"{' and '.join(map(variable, found))} are both set: leave one out")
    for name in found:
        if not os.environ[variable(name)].strip():
            raise WrongValue(f"{variable(name)} is empty: give it a value, or unset it")
    return found[0] if found else None


def _path(name: str) -> Path:
    return Path(os.environ[variable(name)])


def _content(path: Path, source: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise WrongValue(f"{source} is longer than {_LONGEST} bytes")
        text = content.decode()
    except OSError as error:
        raise WrongValue(f"{source} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongValue(f"{source} is no text in UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def default_store(*, make: bool = False) -> str:
    """The URL of a SQLite file in the user's data folder; `make`: that folder is made."""
    try:
        import platformdirs  # noqa: PLC0415
    except ModuleNotFoundError:
        raise missing_driver("the store in your data folder", "platformdirs", "sqlite") from None
    try:
        folder = platformdirs.user_data_path("twitchvault")
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # older releases of platformdirs leave a "~" in it
        raise WrongValue(f"there is no home folder here: name a store, {variable('STORE')}")
    if make:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            msg = f"the folder {str(folder)!r} cannot be made ({error.strerror}): name a store, "
            raise StoreError(msg + variable("STORE")) from None
    try:
        return f"sqlite:///{quote(str(folder / 'tokens.db'))}"
    except UnicodeEncodeError:
        msg = f"the path of your data folder is no UTF-8: name a store, {variable('STORE')}"
    raise WrongValue(msg)


def make_store(url: str, *, namespace: str | None = None, keys: Keys | None = None) -> TokenStore:
    """The store of a URL, not open; encrypted if there are keys."""
    if namespace is None:
        store = open_store(url)
    elif url.lower().startswith(_SERVERS):
        store = stores.RedisStore(url, namespace=namespace)
    else:
        raise WrongValue(f"{variable('NAMESPACE')} is for a store on a Redis server: unset it")
    return store if keys is None else encrypted(store, keys)


def encrypted(store: TokenStore, keys: Keys) -> TokenStore:
    """The same store, encrypted; an error says where the keys stand."""
    try:
        return stores.FernetStore(store, keys.values)
    except WrongValue as error:
        # "'keys'[0] is not a Fernet key: ..."
        text = re.sub(r"^'keys'\[(\d+)\]", lambda found: f"key {int(found[1]) + 1}", str(error))
    raise WrongValue(f"{keys.source}: {text}")
