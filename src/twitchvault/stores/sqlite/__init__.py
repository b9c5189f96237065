"""A store in one SQLite file, for one or several processes of one machine.

| module | subject |
| --- | --- |
| `store` | `SQLiteStore`, the public class: which operation is allowed when |
| `session` | what stands between `open` and `close`; the group commit |
| `worker` | aiosqlite's connection and its thread |
| `file` | making, recognizing and opening the file |
| `table` | all SQL about entries |
| `feed` | the changes |
| `trouble` | from SQLite's errors to ours |
| `steadfast` | a task that cancelling does not reach |
| `writing` | a write under way |
"""

from __future__ import annotations

from twitchvault.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
