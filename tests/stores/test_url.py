"""`open_store` and the lazy names of `twitchvault.stores`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from twitchvault.errors import MissingDriver, StoreError, StoreUnavailable
from twitchvault.stores import BACKENDS, MemoryStore, RedisStore, SQLiteStore, open_store

PASSWORD = "hunter2"


def test_memory() -> None:
    """Every call makes a store of its own."""
    first, second = open_store("memory://"), open_store("MEMORY://")
    assert isinstance(first, MemoryStore)
    assert isinstance(second, MemoryStore)
    assert first is not second


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("SQLite:////some/absolute.db", "/some/absolute.db"),
        ("sqlite:///with%20space%3F.db", "with space?.db"),
        ("sqlite:///as it is: ü.db", "as it is: ü.db"),
        ("sqlite:///100%.db", "100%.db"),
        ("sqlite:///C:/path.db", "C:/path.db"),
        (r"sqlite:///C:\Users\me\path.db", r"C:\Users\me\path.db"),
    ],
)
def test_sqlite(url: str, path: str) -> None:
    """Three slashes are relative to the working directory, four absolute; %xx is decoded."""
    store = open_store(url)
    assert isinstance(store, SQLiteStore)
    assert repr(store) == f"SQLiteStore({str(Path.cwd() / path)!r})"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{PASSWORD}@localhost:6379/0?protocol=3",
        "rediss://localhost?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=3",
    ],
)
def test_redis_urls_go_whole_to_the_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is taken apart here."""
    given: list[str] = []
    monkeypatch.setattr(RedisStore, "__init__", lambda _, url: given.append(url))
    assert isinstance(open_store(url), RedisStore)
    assert given == [url]


URLS = ", ".join(repr(url) for backend in BACKENDS.values() for url in backend.urls)
FORMS = f"expected one of {URLS}; for any other store, pass the store object itself"
SLASHES = (
    "a 'sqlite' URL has three slashes and a path, 'sqlite:///relative.db' or "
    "'sqlite:///C:/path.db', or four, 'sqlite:////absolute.db'"
)
OPTIONS = (
    "a 'sqlite' URL takes no '?' options and no '#' part: give options to SQLiteStore(path), and "
    "write '%3F' or '%23' if the file's name holds such a sign"
)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", f"'url' has no scheme: {FORMS}"),
        ("memory:", f"'url' has no scheme: {FORMS}"),
        (" memory://", f"'url' has no scheme: {FORMS}"),
        (f"redis:user:{PASSWORD}@host", f"'url' has no scheme: {FORMS}"),
        (f"user:{PASSWORD}@redis://host", f"'url' has no scheme: {FORMS}"),
        ("memory://name", "a 'memory' URL is 'memory://' and nothing after it"),
        (f"postgres://u:{PASSWORD}@h/db", f"'postgres://...' names no store known here: {FORMS}"),
        ("sqlite:///", SLASHES),
        ("sqlite://relative.db", SLASHES),
        (f"sqlite://u:{PASSWORD}@host/a.db", SLASHES),
        ("sqlite:///a.db?mode=ro", OPTIONS),
        ("sqlite:///a.db#part", OPTIONS),
        ("sqlite:///:memory:", "'path' must name a file: for a store in memory use MemoryStore()"),
        ("sqlite:///a%00b", "'path' must name a file, 'a\\x00b' cannot"),
    ],
)
def test_anything_else_is_refused(url: str, message: str) -> None:
    """The message says what was expected and never shows what may be a password."""
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        open_store(url)
    assert str(refused.value) == message
    assert PASSWORD not in repr(refused.value)


MODULE = """
from twitchvault.errors import StoreUnavailable
from twitchvault.stores import MemoryStore

given = []

def make(url):
    given.append(url)
    return MemoryStore()

def refuse(url):
    raise StoreUnavailable("no license")

def leak(url):
    raise OSError(url)

not_a_store = str
"""
BROKEN = "division by zero"
GONE = "No module named 'their_missing_driver'"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package that registers stores."""
    (tmp_path / "their_stores.py").write_text(MODULE)
    (tmp_path / "their_broken.py").write_text("1 / 0")
    install(
        tmp_path,
        "their-stores",
        """
        their+db = their_stores:make
        refuse = their_stores:refuse
        leak = their_stores:leak
        text = their_stores:not_a_store
        broken = their_broken:make
        gone = their_missing_driver:make
        redis = their_stores:make
        """,
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("their_stores", "their_broken"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def install(folder: Path, name: str, entries: str) -> None:
    """What an installer writes about a package."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(line.strip() for line in entries.splitlines())
    (info / "entry_points.txt").write_text(f"[twitchvault.stores]\n{lines}\n")


@pytest.mark.usefixtures("plugin")
def test_registered_schemes() -> None:
    """An installed package's object gets the whole URL; a scheme of ours stays ours."""
    url = f"Their+DB://user:{PASSWORD}@host/db?option=1"
    assert isinstance(open_store(url), MemoryStore)
    assert sys.modules["their_stores"].given == [url]
    assert isinstance(open_store("redis://localhost"), RedisStore)
    with pytest.raises(ValueError, match=r"'memory://', .*, 'broken://\.\.\.', 'gone"):
        open_store("unknown://")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("scheme", "kind", "text"),
    [
        ("refuse", StoreUnavailable, "no license"),
        ("leak", StoreError, "{} failed to make a store of 'leak://...': OSError"),
        ("text", TypeError, "{} made a str of 'text://...', which is no TokenStore"),
        ("broken", StoreError, "{}, which makes 'broken://...', cannot be imported: " + BROKEN),
        ("gone", MissingDriver, "{}, which makes 'gone://...', cannot be imported: " + GONE),
    ],
)
def test_registered_schemes_that_fail(scheme: str, kind: type[Exception], text: str) -> None:
    """The error names the package, and shows neither the URL nor a cause that holds it."""
    with pytest.raises(kind) as caught:
        open_store(f"{scheme}://user:{PASSWORD}@host")
    assert str(caught.value) == text.format("the package 'their-stores'")
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_scheme_of_two_packages(plugin: Path) -> None:
    """Two packages with the same scheme are both named."""
    install(plugin, "our-stores", "leak = their_stores:make")
    with pytest.raises(ValueError, match="uninstall all but one") as caught:
        open_store("leak://host")
    assert str(caught.value) == (
        "'leak://...' is registered by several packages, the package 'our-stores', the package "
        "'their-stores': uninstall all but one"
    )


def test_only_strings() -> None:
    """A path is not taken for a URL."""
    with pytest.raises(TypeError, match="'url' must be a str, not PosixPath"):
        open_store(Path("a.db"))  # type: ignore[arg-type]
