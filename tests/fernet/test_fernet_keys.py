"""Which keys a store takes, when it asks for them, and opening with right and wrong ones."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from twitchvault.errors import DecryptionError, StoreError, StoreUnavailable
from twitchvault.stores import FernetStore, MemoryStore

from .makers import CHECK, KEY, NEW, WRONG, content, names_in, opened, token, values

if TYPE_CHECKING:
    from pathlib import Path


LENGTH = "expected 44 characters of url-safe base64, as Fernet.generate_key() makes them; this has"
FORMS = "'keys' must be a Fernet key, a list or tuple of keys, or a callable"
ORDER = "their order counts, the first one encrypts"


class Service:
    """A key service."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.calls = 0
        self.failure: Exception | None = None

    async def __call__(self) -> list[str]:
        """The keys as they are now."""
        self.calls += 1
        if self.failure:
            raise self.failure
        return list(self.keys)


async def one_key() -> str:
    """A coroutine function that gives keys."""
    return KEY


@pytest.mark.parametrize(
    "keys",
    [
        *(KEY, KEY.encode(), KEY + "\n", [KEY], (KEY, NEW), [NEW.encode(), KEY], [KEY, KEY]),
        *(lambda: KEY, lambda: (NEW, KEY), one_key, partial(one_key), Service(KEY)),
    ],
)
async def test_forms_of_keys(inner: MemoryStore, store: FernetStore, keys: Any) -> None:  # noqa: ANN401
    """A key may come alone, in a list or a tuple, or by a call that may be awaited."""
    await store.put("key", b"value")
    other = FernetStore(inner, keys)
    await other.open()
    assert await values(other) == {"key": b"value"}


@pytest.mark.parametrize(
    ("keys", "kind", "text"),
    [
        ("", ValueError, f"'keys'[0] is not a Fernet key: {LENGTH} 0"),
        (KEY[:-2], ValueError, f"'keys'[0] is not a Fernet key: {LENGTH} 42"),
        ([KEY, NEW * 2], ValueError, f"'keys'[1] is not a Fernet key: {LENGTH} 88"),
        (f"{KEY},{NEW}", ValueError, f"'keys'[0] is not a Fernet key: {LENGTH} 89"),
        ("é" * 44, ValueError, f"'keys'[0] is not a Fernet key: {LENGTH} 44"),
        ("," * 44, ValueError, f"'keys'[0] is not a Fernet key: {LENGTH} 44"),
        ([], ValueError, "'keys' is empty: give at least one Fernet key"),
        ([KEY, None], TypeError, "'keys'[1] must be str or bytes, not NoneType"),
        ([Fernet(KEY)], TypeError, "'keys'[0] must be str or bytes, not Fernet"),
        *(
            (keys, TypeError, f"{FORMS}, not {type(keys).__name__}: {ORDER}")
            for keys in (None, 7, {KEY, NEW}, {KEY: 1}, iter([KEY]), MultiFernet([Fernet(KEY)]))
        ),
    ],
)
def test_bad_keys(keys: Any, kind: type[Exception], text: str) -> None:  # noqa: ANN401
    """What is no key, or has no first one, is refused at once, by its place, never by its value."""
    with pytest.raises(kind) as caught:
        FernetStore(MemoryStore(), keys)
    assert str(caught.value) == text
    assert caught.value.__cause__ is None
    assert KEY[:8] not in str(caught.value)


async def test_callable_is_asked_by_open_and_rotate_only(inner: MemoryStore) -> None:
    """In between nobody asks, not even when an entry cannot be decrypted."""
    service = Service(KEY)
    store = FernetStore(inner, service)
    await store.open()
    await store.put("key", b"value")
    await (await opened(inner, NEW, KEY)).put("new", b"value")
    service.keys = [NEW, KEY]
    with pytest.raises(DecryptionError, match="'new' is not decrypted by any of the keys"):
        await store.get("new")
    assert service.calls == 1
    assert (await store.rotate()).old_keys_unused
    assert service.calls == 2
    assert await values(store) == {"key": b"value", "new": b"value"}
    await store.close()
    await store.open()
    assert service.calls == 3


async def test_plain_function_runs_beside_the_loop(inner: MemoryStore) -> None:
    """A function that waits for a key service does not hold up the loop."""
    loop_went_on = threading.Event()

    def keys() -> str:
        assert loop_went_on.wait(10)
        return KEY

    opening = asyncio.create_task(FernetStore(inner, keys).open())
    await asyncio.sleep(0)
    loop_went_on.set()
    await opening


async def test_failing_callable(inner: MemoryStore) -> None:
    """A key service that is down is `StoreUnavailable`; its own words are not repeated."""
    service = Service(KEY)
    service.failure = OSError(f"canary {KEY}")
    store = FernetStore(inner, service)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert str(caught.value) == "the callable 'keys' gave no keys within 30 s: OSError"
    assert caught.value.__cause__ is caught.value.__context__ is None
    service.failure = StoreUnavailable("the key service is down")
    with pytest.raises(StoreUnavailable, match=r"^the key service is down$"):
        await store.open()
    assert await content(inner) == {}


async def test_hanging_callable(inner: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key service that does not answer is given up."""
    loop, asked, later = asyncio.get_running_loop(), asyncio.Event(), 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + later)

    async def keys() -> str:
        asked.set()
        await asyncio.Event().wait()
        return KEY

    opening = asyncio.create_task(FernetStore(inner, keys).open())
    await asked.wait()
    later = 31.0
    with pytest.raises(StoreUnavailable, match="gave no keys within 30 s: TimeoutError"):
        await opening


@pytest.mark.parametrize("keys", [[WRONG], ["short"], [], [None]])
async def test_wrong_keys_are_not_taken(inner: MemoryStore, keys: list[str]) -> None:
    """Keys of a callable that do not decrypt the store are refused; those in use go on."""
    service = Service(KEY)
    store = FernetStore(inner, service)
    await store.open()
    service.keys = keys
    with pytest.raises((DecryptionError, ValueError, TypeError)):
        await store.rotate()
    await store.put("key", b"value")
    assert await values(await opened(inner)) == {"key": b"value"}
    with pytest.raises((DecryptionError, ValueError, TypeError)):
        await FernetStore(inner, service).open()


def test_no_pickle_and_no_copy() -> None:
    """Keys do not travel: a store refuses to be pickled or copied."""
    store = FernetStore(MemoryStore(), KEY)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            attempt(store)
        assert str(caught.value) == (
            "a FernetStore holds keys and cannot be pickled or copied: make another"
        )


WRONG_KEY = (
    "none of the keys decrypts this store, and nothing was written: give the key that it was "
    "encrypted with, alone or behind a new one, as in FernetStore(inner, [new, old])"
)


async def test_wrong_key_writes_nothing(tmp_path: Path) -> None:
    """A wrong key fails at open; the file keeps every byte, and the right key opens it.

    The inner store is named by a URL here; `close` closes it, also after `open` has failed.
    """
    path = tmp_path / "tokens.db"
    url = f"sqlite:///{path}"
    store = FernetStore(url, KEY)
    await store.open()
    await store.put("cid:1", b"value")
    await store.close()
    before = path.read_bytes()
    for keys in (WRONG, [WRONG, NEW], lambda: WRONG):
        wrong = FernetStore(url, keys)
        for attempt in (wrong.open, wrong.encrypt_existing):
            with pytest.raises(DecryptionError) as caught:
                await attempt()
            assert str(caught.value) == WRONG_KEY
        await wrong.close()
        assert names_in(tmp_path) == ["tokens.db"], "it has a log, so it is still open"
        assert path.read_bytes() == before
    await store.open()
    assert await values(store) == {"cid:1": b"value"}
    await store.close()


async def test_wrong_key_of_an_empty_store(inner: MemoryStore, store: FernetStore) -> None:
    """A store without users has its key all the same; a failed open leaves the inner one open."""
    with pytest.raises(DecryptionError, match="none of the keys"):
        await opened(inner, WRONG)
    assert await store.put("key", b"value")


async def test_plaintext_store_is_refused(inner: MemoryStore) -> None:
    """A store in plaintext is not opened, and nothing is written."""
    await inner.put("cid:1", b'{"schema":1}')
    before = await content(inner)
    with pytest.raises(DecryptionError) as caught:
        await opened(inner)
    assert str(caught.value) == (
        "this store holds entries in plaintext, such as 'cid:1', and nothing was written: "
        "'await store.encrypt_existing()' encrypts them, or name another store"
    )
    assert await content(inner) == before


async def test_check_entry_is_gone(inner: MemoryStore, store: FernetStore) -> None:
    """Without its check entry an encrypted store is not opened, and can be mended."""
    await store.put("cid:1", b"value")
    await inner.delete(CHECK)
    before = await content(inner)
    again = FernetStore(inner, KEY)
    with pytest.raises(DecryptionError) as caught:
        await again.open()
    assert str(caught.value) == (
        "this store holds encrypted entries, such as 'cid:1', but its check entry "
        "'twitchvault/fernet' is gone: 'await store.encrypt_existing()' makes it anew if the keys "
        "decrypt all of them"
    )
    assert await content(inner) == before
    await again.encrypt_existing()
    assert await values(again) == {"cid:1": b"value"}
    await opened(inner)


@pytest.mark.parametrize("value", [b"", b"ready", b"gAAAAAdamaged", None])
async def test_check_entry_is_damaged(
    inner: MemoryStore, store: FernetStore, value: bytes | None
) -> None:
    """A damaged check entry, or a user's entry in its place, is not taken for an absent one."""
    await store.put("cid:1", b"ready")
    await inner.put(CHECK, await token(inner, "cid:1") if value is None else value)
    before = await content(inner)
    for attempt in (FernetStore(inner, KEY).open, FernetStore(inner, KEY).encrypt_existing):
        with pytest.raises(DecryptionError, match="none of the keys decrypts this store"):
            await attempt()
    assert await content(inner) == before


async def test_store_replaced_while_open(inner: MemoryStore, store: FernetStore) -> None:
    """A store that was emptied, or emptied and made anew, is an error, and not rotated."""
    await inner.delete(CHECK)
    for _ in range(2):
        with pytest.raises(StoreError, match="emptied or replaced while it was open"):
            await store.rotate()
        await opened(inner)


async def test_open_and_close_go_to_the_inner_store(inner: MemoryStore) -> None:
    """What is opened is the inner store, and what is closed; again and again."""
    await inner.close()
    store = FernetStore(inner, KEY)
    for _ in range(2):
        await store.open()
        assert await inner.get(CHECK)
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await inner.get(CHECK)


def test_bad_inner() -> None:
    """What is no store is refused at once."""
    with pytest.raises(TypeError, match="'inner' must be a TokenStore or a URL, not int"):
        FernetStore(7, KEY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'url' has no scheme"):
        FernetStore("tokens.db", KEY)


async def test_encrypted_twice(store: FernetStore) -> None:
    """A FernetStore over a FernetStore is refused when it is opened."""
    with pytest.raises(ValueError, match="a FernetStore keeps its key check entry there"):
        await FernetStore(store, NEW).open()
