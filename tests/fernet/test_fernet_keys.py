"""Which keys a `FernetStore` takes, and that it keeps them to itself."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from twitchvault.errors import DecryptionError, StoreError
from twitchvault.stores import FernetStore, MemoryStore, SQLiteStore

from .makers import KEY, NEW, WRONG, over_sqlite, shown, token

if TYPE_CHECKING:
    from pathlib import Path

    from twitchvault.stores.fernet.keys import Given

EXPECTED = "44 characters of url-safe base64, as Fernet.generate_key() makes them"


@pytest.mark.parametrize(
    "keys",
    [
        KEY,
        KEY.encode(),
        Fernet(KEY),
        MultiFernet([Fernet(KEY), Fernet(NEW)]),
        [KEY],
        (KEY, NEW),
        [Fernet(KEY), NEW.encode(), KEY],
        [MultiFernet([Fernet(KEY)]), NEW],
        KEY + "\n",
        lambda: KEY,
        iter([KEY]),
    ],
)
async def test_forms_of_keys(inner: MemoryStore, store: FernetStore, keys: Given) -> None:
    """A key may come as str, bytes, Fernet or MultiFernet, alone, among others or by a call."""
    await store.put("key", b"value")
    other = FernetStore(inner, keys)
    await other.open()
    entry = await other.get("key")
    assert entry
    assert entry.value == b"value"


async def test_first_encrypts(inner: MemoryStore) -> None:
    """Of several keys the first encrypts."""
    store = FernetStore(inner, [NEW, KEY])
    await store.open()
    await store.put("key", b"value")
    only = FernetStore(inner, NEW)
    await only.open()
    assert await only.get("key")


BAD: list[tuple[Any, type[Exception], str]] = [
    ("", ValueError, f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 0"),
    (KEY[:-2], ValueError, f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 42"),
    (
        [KEY, NEW * 2],
        ValueError,
        f"'keys'[1] is not a Fernet key: expected {EXPECTED}; this has 88",
    ),
    (
        f"{KEY},{NEW}",
        ValueError,
        f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 89",
    ),
    ("é" * 44, ValueError, f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 44"),
    ("," * 44, ValueError, f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 44"),
    ("schlüssel", ValueError, f"'keys'[0] is not a Fernet key: expected {EXPECTED}; this has 9"),
    ([], ValueError, "'keys' is empty: give at least one Fernet key"),
    (None, TypeError, "'keys' must be a Fernet key or several, or a callable, not NoneType"),
    (7, TypeError, "'keys' must be a Fernet key or several, or a callable, not int"),
    ([KEY, None], TypeError, "'keys'[1] must be str, bytes, Fernet or MultiFernet, not NoneType"),
    ([lambda: KEY], TypeError, "'keys'[0] must be str, bytes, Fernet or MultiFernet, not function"),
]


@pytest.mark.parametrize(("keys", "kind", "text"), BAD, ids=range(len(BAD)))
def test_bad_keys(keys: Given, kind: type[Exception], text: str) -> None:
    """What is no key is refused when the store is made, by its place, never by its value."""
    with pytest.raises(kind) as caught:
        FernetStore(MemoryStore(), keys)
    assert str(caught.value) == text
    assert caught.value.__cause__ is None
    assert KEY[:8] not in str(caught.value)


def test_fernet_that_hides_its_key() -> None:
    """A Fernet without the inner parts that this reads is refused with the way out."""
    fernet = Fernet(KEY)
    del fernet._signing_key
    with pytest.raises(ValueError, match="give the key itself, as str or bytes"):
        FernetStore(MemoryStore(), fernet)
    several = MultiFernet([Fernet(KEY)])
    del several._fernets
    with pytest.raises(ValueError, match="give the keys themselves, in a list"):
        FernetStore(MemoryStore(), several)


@pytest.mark.parametrize(
    ("inner", "kind", "text"),
    [
        (7, TypeError, "'inner' must be a TokenStore or a URL, not int"),
        (FernetStore(MemoryStore(), KEY), TypeError, "'inner' is a FernetStore"),
        ("tokens.db", ValueError, "'url' has no scheme"),
    ],
)
def test_bad_inner(inner: Any, kind: type[Exception], text: str) -> None:  # noqa: ANN401
    """What is no store is refused at once."""
    with pytest.raises(kind, match=text):
        FernetStore(inner, KEY)


def test_no_pickle_and_no_copy() -> None:
    """Keys do not travel: a store refuses to be pickled or copied, and so do the keys inside."""
    store = FernetStore(MemoryStore(), KEY)
    text = (
        "a FernetStore cannot be pickled or copied, it holds keys: make another one from the same "
        "inner store and keys"
    )
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            attempt(store)
        assert str(caught.value) == text
    with pytest.raises(TypeError, match="keys cannot be pickled"):
        pickle.dumps(store._source._ring)


async def test_nothing_shows_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither reprs nor errors nor logs show a key or a value."""
    caplog.set_level(logging.DEBUG)
    store = over_sqlite(tmp_path / "tokens.db")
    await store.open()
    await store.put("key", b"canary-value")
    texts = [repr(store), repr(store._source._ring), repr([e async for e in store.scan()])]
    assert texts[0] == f"FernetStore(SQLiteStore({str(tmp_path / 'tokens.db')!r}))"
    await store._inner.put("other", await token(store._inner, "key"))
    for keys in (WRONG, lambda: KEY + KEY, _failing):
        with pytest.raises((StoreError, ValueError)) as caught:
            await FernetStore(SQLiteStore(tmp_path / "tokens.db"), keys).open()
        texts.append(shown(caught.value))
    with pytest.raises(DecryptionError) as moved:
        await store.get("other")
    texts += [shown(moved.value), repr(moved.value.__dict__), caplog.text]
    await store.close()
    for secret in (KEY, WRONG, "canary-value", "canary-error"):
        assert not [text for text in texts if secret in text]


def _failing() -> str:
    msg = f"canary-error {KEY}"
    raise RuntimeError(msg)


DRIVERLESS = """
import sys
sys.modules["cryptography"] = None
import twitchvault
from twitchvault.stores import FernetStore, MemoryStore
try:
    FernetStore(MemoryStore(), "key")
except twitchvault.MissingDriver as error:
    print(error)
"""
LAZY = """
import sys
import twitchvault.stores.fernet
from twitchvault import FernetStore
print("cryptography" in sys.modules)
"""


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (
            DRIVERLESS,
            "FernetStore needs the package 'cryptography': pip install 'twitchvault[fernet]'",
        ),
        (LAZY, "False"),
    ],
    ids=["missing", "lazy"],
)
def test_driver(script: str, text: str) -> None:
    """The driver is imported on use; its absence names the extra."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == text
