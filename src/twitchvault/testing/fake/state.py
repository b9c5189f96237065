"""The double's ground: its clock, its dice, its clients and users, its counters. No HTTP here."""

from __future__ import annotations

import random
import re
import string
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from .model import Client, Counts, Leak, RequestLog, Settings, Switches, User, apply_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Seconds

LOG_SIZE: Final = 10_000
FIRST_USER_ID: Final = 100_000_001

_LOWER: Final = string.ascii_lowercase + string.digits
_MIXED: Final = string.ascii_letters + string.digits
_LOGIN: Final = re.compile(r"[a-z0-9_]{1,25}")
_USER_ID: Final = re.compile(r"[0-9]{1,10}")


class State:
    """What everything else stands on. All times are seconds of the double's own clock."""

    def __init__(self, settings: Settings, seed: int | None = None) -> None:
        self.settings = settings
        self.clients: dict[str, Client] = {}
        self.users: dict[str, User] = {}
        self.counters: Counter[str] = Counter()
        self.requests: deque[RequestLog] = deque(maxlen=LOG_SIZE)
        self.leaks: deque[Leak] = deque(maxlen=LOG_SIZE)
        self.secrets: set[str] = set()
        self._random = random.Random(seed)  # noqa: S311 - a double: a seed must repeat its tokens
        self._origin = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch, plus what `advance` added; never goes back."""
        return self._origin + time.monotonic()

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        if seconds < 0:
            raise ValueError(f"'seconds': the clock only goes forward, not by {seconds}")
        self._origin += seconds

    def draw(self, duration: Seconds) -> float:
        """A duration, drawn where a range is given."""
        if isinstance(duration, int | float):
            return duration
        return self._random.uniform(*duration)

    def token(self, length: int = 30) -> str:
        """A new lower-case alphanumeric secret: client secret, access token (30), refresh (50)."""
        return self._secret(_LOWER, length)

    def device_code(self) -> str:
        """A new device code: 40 letters and digits."""
        return self._secret(_MIXED, 40)

    def user_code(self) -> str:
        """A new user code: 8 capitals."""
        return "".join(self._random.choices(string.ascii_uppercase, k=8))

    def _secret(self, letters: str, length: int) -> str:
        value = "".join(self._random.choices(letters, k=length))
        self.secrets.add(value)
        return value

    def counts(self) -> Counts:
        """A snapshot of the counters."""
        return Counts(**self.counters)

    def register_client(
        self,
        *,
        public: bool,
        redirect_uris: Iterable[str],
        client_id: str | None,
        client_secret: str | None,
        name: str,
        switches: dict[str, object],
    ) -> Client:
        """Add a client; its id must be new."""
        if public and client_secret is not None:
            raise ValueError("'client_secret': a public client has none")
        chosen = Switches()
        apply_options(chosen, switches)
        identity = client_id or "".join(self._random.choices(_LOWER, k=30))
        if identity in self.clients:
            raise ValueError(f"'client_id': {identity!r} is registered already")
        secret = None if public else client_secret or self.token()
        if secret is not None:
            self.secrets.add(secret)
        client = Client(identity, secret, tuple(redirect_uris), name, chosen)
        self.clients[identity] = client
        return client

    def client(self, client: Client | str) -> Client:
        """The registered client, by itself or by its id."""
        identity = client if isinstance(client, str) else client.client_id
        if identity not in self.clients:
            raise ValueError(f"unknown client {identity!r}: register_client() comes first")
        return self.clients[identity]

    def add_user(self, login: str, user_id: str | None, display_name: str | None) -> User:
        """Add a user; login and id must be new."""
        self._check_login(login)
        identity = user_id or self._next_user_id()
        if not _USER_ID.fullmatch(identity):
            raise ValueError(f"'user_id': expected up to 10 digits, not {identity!r}")
        if identity in self.users:
            raise ValueError(f"'user_id': {identity!r} is taken")
        user = User(identity, login, display_name or login.capitalize())
        self.users[identity] = user
        return user

    def rename(self, user: User, login: str) -> None:
        """Give a user another login; the id stays."""
        self._check_login(login)
        user.login, user.display_name = login, login.capitalize()

    def user(self, user: User | str) -> User:
        """The known user, by itself, by id, or by login."""
        found = self.find_user(user if isinstance(user, str) else user.user_id)
        if found is None:
            raise ValueError(f"unknown user {user!r}: add_user() comes first")
        return found

    def find_user(self, name: str) -> User | None:
        """The user with that id or login."""
        if name in self.users:
            return self.users[name]
        return next((user for user in self.users.values() if user.login == name), None)

    def _check_login(self, login: str) -> None:
        if not _LOGIN.fullmatch(login):
            raise ValueError(
                f"'login': expected 1 to 25 of lower-case letters, digits, '_', not {login!r}"
            )
        if any(user.login == login for user in self.users.values()):
            raise ValueError(f"'login': {login!r} is taken")

    def _next_user_id(self) -> str:
        number = FIRST_USER_ID + len(self.users)
        while str(number) in self.users:
            number += 1
        return str(number)
