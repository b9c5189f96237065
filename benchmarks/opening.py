"""What an open flow costs: memory per user, time to open, and how long opening holds the loop.

    python -m benchmarks.opening [users]

Two stores of the same users: records as they are after a login, and as they are after weeks, when
the fingerprints of the last 16 refresh tokens are remembered. Every figure is taken in a fresh
process. Marks: at most 1.5 KB of resident memory per user, at most 50 ms at a stretch.
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
from typing import Final

from benchmarks.records import CLIENT_ID, fill
from twitchvault import App, open_store

BYTES_PER_USER: Final = 1536
LONGEST_HOLD_MS: Final = 50.0
OLD_TOKENS: Final = 16


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


async def measure(url: str, users: int, *, watch: bool) -> dict[str, float]:
    """Open an app on the store and look at what that took."""
    store = open_store(url)
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


def in_fresh_process(url: str, users: int, *, watch: bool) -> dict[str, float]:
    """`measure`, where nothing else has been allocated before."""
    command = [sys.executable, "-m", "benchmarks.opening", "--measure", url, str(users)]
    result = subprocess.run(
        [*command, *(["--watch"] if watch else [])], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


async def prepare(url: str, users: int, old_tokens: int) -> None:
    """Put so many users into an empty store."""
    store = open_store(url)
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
        for label, old_tokens in (("after a login", 0), ("after weeks", OLD_TOKENS)):
            url = f"sqlite:///{Path(folder) / f'{old_tokens}.db'}"
            asyncio.run(prepare(url, users, old_tokens))
            plain = in_fresh_process(url, users, watch=False)
            watched = in_fresh_process(url, users, watch=True)
            good &= plain["bytes_per_user"] <= BYTES_PER_USER
            good &= watched["hold_ms"] <= LONGEST_HOLD_MS
            table.add_row(
                label,
                f"{plain['seconds']:.2f}",
                f"{watched['hold_ms']:.1f}",
                f"{plain['bytes_per_user']:,.0f}",
            )
    Console().print(table)
    print(
        f"marks: {LONGEST_HOLD_MS:.0f} ms, {BYTES_PER_USER:,} bytes: {'met' if good else 'MISSED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    if "--measure" in sys.argv:
        at = sys.argv.index("--measure")
        figures = asyncio.run(
            measure(sys.argv[at + 1], int(sys.argv[at + 2]), watch="--watch" in sys.argv)
        )
        print(json.dumps(figures))
    else:
        sys.exit(main())
