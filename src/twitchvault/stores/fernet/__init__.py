"""Encryption over any store, by the Fernet of the package `cryptography`.

| module | subject |
| --- | --- |
| `store` | `FernetStore`, the public class: which operation is allowed when |
| `session` | what stands between `open` and `close`; asking for the keys anew |
| `keys` | from what the user gives to keys that can be used |
| `source` | where the keys come from: given once, or by a callable |
| `seal` | what is inside a ciphertext, and why one is refused |
| `check` | the entry by which a wrong key is told when the store is opened |
| `feed` | the changes |
| `rewrite` | rotation, and encrypting what is in plaintext |
| `walk` | a scan that lets other tasks run |
"""

from __future__ import annotations

from twitchvault.stores.fernet.rewrite import EncryptionReport
from twitchvault.stores.fernet.store import FernetStore

__all__ = ["EncryptionReport", "FernetStore"]
