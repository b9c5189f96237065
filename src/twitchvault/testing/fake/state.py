"""The double's clock, its random numbers, its clients and users, its counters. No HTTP here."""

from __future__ import annotations

import random
import re
import string
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from .model import Client, Counts, RequestLog, Settings, User

if TYPE_CHECKING:
    from .model import Seconds

LOG_SIZE: Final = 10_000
FIRST_USER_ID: Final = 100_000_001

LOWER: Final = string.ascii_lowercase + string.digits
_LOGIN: Final = re.compile(r"[a-z0-9_]{1,25}")
_USER_ID: Final = re.compile(r"[0-9]{1,10}")


class State:
    """What all handlers share. All times are seconds of the double's own clock."""

    def __init__(self, settings: Settings, seed: int | None = None) -> None:
        self.settings = settings
        self.clients: dict[str, Client] = {}
        self.users: dict[str, User] = {}
        self.counters = Counts()
        self.requests: deque[RequestLog] = deque(maxlen=LOG_SIZE)
        self.secrets: set[str] = set()
        self._random = random.Random(seed)  # noqa: S311 - a double: a seed must repeat its tokens
        self._origin = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch, plus what `advance` added; never goes back."""
        return self._origin + time.monotonic()

    def advance(self, seconds: float) -> float:
        """Move the clock on; returns the new time."""
        if seconds < 0:
            raise ValueError(f"'seconds': the clock only goes forward, not by {seconds}")
        self._origin += seconds
        return self.now()

    def draw(self, duration: Seconds) -> float:
        """A duration, drawn where a range is given."""
        return duration if isinstance(duration, int | float) else self._random.uniform(*duration)

    def token(self, length: int = 30) -> str:
        """A new client secret, code or access token (30 characters), or refresh token (50)."""
        return self.secret(length, LOWER)

    def secret(self, length: int, letters: str) -> str:
        """A new secret of these letters."""
        value = self.name(length, letters)
        self.secrets.add(value)
        return value

    def name(self, length: int, letters: str = LOWER) -> str:
        """A new random name that is no secret."""
        return "".join(self._random.choices(letters, k=length))

    def add_client(self, client: Client) -> Client:
        """Register a client; its id must be new."""
        if client.client_id in self.clients:
            raise ValueError(f"'client_id': {client.client_id!r} is registered already")
        if client.client_secret is not None:
            self.secrets.add(client.client_secret)
        self.clients[client.client_id] = client
        return client

    def client(self, client: Client | str) -> Client:
        """The registered client, by itself or by its id."""
        client_id = client if isinstance(client, str) else client.client_id
        if client_id not in self.clients:
            raise ValueError(f"unknown client {client_id!r}: register_client() comes first")
        return self.clients[client_id]

    def add_user(
        self, login: str, user_id: str | None = None, display_name: str | None = None
    ) -> User:
        """Add a user; login and id must be new."""
        self._check_login(login)
        user_id = user_id or str(FIRST_USER_ID + len(self.users))
        if not _USER_ID.fullmatch(user_id):
            raise ValueError(f"'user_id': expected up to 10 digits, not {user_id!r}")
        if user_id in self.users:
            raise ValueError(f"'user_id': {user_id!r} is taken")
        self.users[user_id] = User(user_id, login, display_name or login.capitalize())
        return self.users[user_id]

    def rename(self, user: User | str, login: str) -> User:
        """Give a user another login; the id stays."""
        known = self.user(user)
        self._check_login(login)
        known.login, known.display_name = login, login.capitalize()
        return known

    def user(self, user: User | str) -> User:
        """The known user, by itself, by id, or by login."""
        name = user if isinstance(user, str) else user.user_id
        found = self.users.get(name) or self._by_login(name)
        if found is None:
            raise ValueError(f"unknown user {user!r}: add_user() comes first")
        return found

    def _by_login(self, login: str) -> User | None:
        return next((user for user in self.users.values() if user.login == login), None)

    def _check_login(self, login: str) -> None:
        if not _LOGIN.fullmatch(login):
            raise ValueError(
                f"'login': expected 1 to 25 of lower-case letters, digits, '_', not {login!r}"
            )
        if self._by_login(login) is not None:
            raise ValueError(f"'login': {login!r} is taken")
