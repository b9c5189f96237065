"""Files with secrets: who can read them, and whether SQLite can work there."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twitchvault.cli.checks import Check

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS: Final = 0o077


def check_mode(name: str, file: Path) -> Check:
    """Whether only its owner can read a file, and whether that is who asks."""
    status = file.stat()
    if sys.platform == "win32":  # has neither owners nor modes of this kind
        return Check(name, "ok", str(file))
    import pwd  # noqa: PLC0415 - not on Windows

    def user(uid: int) -> str:
        with suppress(KeyError):  # in a container there may be no name
            return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
        return f"uid {uid}"

    mode, uid = stat.S_IMODE(status.st_mode), os.geteuid()
    found = f"{file} has mode {mode:o} and belongs to {user(status.st_uid)}"
    if stat.S_ISREG(status.st_mode) and mode & _OTHERS:
        advice = f"'chmod 600 {file}'"
        return Check(name, "warning", f"{found}: other users can read its secrets", advice)
    if uid not in {status.st_uid, 0}:
        advice = f"run it as the owner, or 'chown {uid} {file}'"
        return Check(name, "warning", f"{found}, and this is run by {user(uid)}", advice)
    return Check(name, "ok", found)


def check_sqlite(file: Path) -> list[Check]:
    """The file of a SQLite store, and its folder, where the log is made."""
    checks = [check_mode("file", file)]
    if os.path.ismount(file):
        text = f"{file} is a mount point: its log '{file.name}-wal' stays outside, and with it the "
        text += "newest tokens"
        checks.append(Check("mount", "warning", text, "mount the folder, not the file"))
    if not os.access(file.parent, os.W_OK):
        text = f"nothing can be written into {file.parent}, where SQLite keeps its log"
        checks.append(Check("folder", "problem", text, f"'chown' or 'chmod' {file.parent}"))
    return checks
