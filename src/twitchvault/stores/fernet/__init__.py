"""Encryption over any store, by the Fernet of the package `cryptography`."""

from __future__ import annotations

from twitchvault.stores.fernet.rotation import EncryptionReport
from twitchvault.stores.fernet.store import FernetStore

__all__ = ["EncryptionReport", "FernetStore"]
