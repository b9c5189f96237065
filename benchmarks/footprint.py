"""What an open flow costs: memory per user, time to open, and how long opening holds the loop.

    python -m benchmarks.footprint [users]

Three stores of the same users: records as they are after a login; as they are after weeks, when the
fingerprints of the last 16 refresh tokens are remembered; and those after a login, encrypted. Every
figure is taken in a fresh process. Marks: at most 1.5 KB of resident memory per user, at most 50 ms
at a stretch.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.fernet import Fernet

from benchmarks.records import CLIENT_ID, fill
from twitchvault import App, FernetStore, open_store

if TYPE_CHECKING:
    from twitchvault import TokenStore

BYTES_PER_USER: Final = {"after a login": 1536, "after weeks": 2304, "encrypted": 1536}
LONGEST_HOLD_MS: Final = 50.0
OLD_TOKENS: Final = 16
KINDS: Final = {"after a login": 0, "after weeks": OLD_TOKENS, "encrypted": 0}


def resident() -> int:
    """Bytes of resident memory of this process now (where the system tells), else at its peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def longest_hold(stop: asyncio.Event) -> float:
    """The longest time in seconds that the loop did not come round."""
    longest = 0.0
    while not stop.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - before)
    return longest


def store_of(url: str, secret: str) -> TokenStore:
    """The store of this URL, encrypted if there is a secret."""
    return FernetStore(url, secret) if secret else open_store(url)


async def measure(url: str, users: int, secret: str, *, watch: bool) -> dict[str, float]:
    """Open an app on the store and measure what that costs."""
    store = store_of(url, secret)
    await store.open()
    stop = asyncio.Event()
    gc.collect()
    before = resident()
    watcher = asyncio.create_task(longest_hold(stop)) if watch else None
    await asyncio.sleep(0)
    app = App(CLIENT_ID, store=store, maintain=False)
    began = time.perf_counter()
    await app.authorize()
    took = time.perf_counter() - began
    await app.sync()  # by then the records are decoded, too
    stop.set()
    hold = await watcher if watcher is not None else 0.0
    gc.collect()
    per_user = (resident() - before) / users
    found = len(app.tokens)
    await app.close()
    await store.close()
    if found != users:
        raise SystemExit(f"the views show {found} users, not {users}")
    return {"seconds": took, "hold_ms": hold * 1000, "bytes_per_user": per_user}


def in_fresh_process(url: str, users: int, *, watch: bool, secret: str = "") -> dict[str, float]:
    """`measure`, where nothing else has been allocated before."""
    command = [sys.executable, "-m", "benchmarks.footprint", "--measure", url, str(users), secret]
    result = subprocess.run(
        [*command, *(["--watch"] if watch else [])], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


async def prepare(url: str, users: int, old_tokens: int, secret: str = "") -> None:
    """Put so many users into an empty store."""
    store = store_of(url, secret)
    await store.open()
    await fill(store, users, old_tokens)
    await store.close()


def main() -> int:
    """Print the table; 1 if a mark is missed."""
    from rich.console import Console  # noqa: PLC0415 - what is measured is a flow without it
    from rich.table import Table  # noqa: PLC0415

    users = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    table = Table(title=f"Opening a flow on {users:,} stored users (SQLite)")
    for heading in ("records", "open, s", "longest hold, ms", "memory per user, bytes"):
        table.add_column(heading, justify="left" if heading == "records" else "right")
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for label, old_tokens in KINDS.items():
            secret = Fernet.generate_key().decode() if label == "encrypted" else ""
            url = f"sqlite:///{Path(folder) / f'{label}.db'}"
            asyncio.run(prepare(url, users, old_tokens, secret))
            plain = in_fresh_process(url, users, watch=False, secret=secret)
            watched = in_fresh_process(url, users, watch=True, secret=secret)
            good &= plain["bytes_per_user"] <= BYTES_PER_USER[label]
            good &= watched["hold_ms"] <= LONGEST_HOLD_MS
            table.add_row(
                label,
                f"{plain['seconds']:.2f}",
                f"{watched['hold_ms']:.1f}",
                f"{plain['bytes_per_user']:,.0f}",
            )
    Console().print(table)
    verdict = "met" if good else "MISSED"
    most = ", ".join(f"{size:,} bytes {label}" for label, size in BYTES_PER_USER.items())
    print(f"marks: {LONGEST_HOLD_MS:.0f} ms, {most}: {verdict}")
    return 0 if good else 1


if __name__ == "__main__":
    if "--measure" in sys.argv:
        at = sys.argv.index("--measure")
        place, size, key = sys.argv[at + 1 : at + 4]
        figures = asyncio.run(measure(place, int(size), key, watch="--watch" in sys.argv))
        print(json.dumps(figures))
    else:
        sys.exit(main())
