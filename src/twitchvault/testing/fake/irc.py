"""Twitch's chat as IRC over a websocket: signing in, joining, and messages."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Final

from .sockets import Connection

if TYPE_CHECKING:
    from aiohttp import web

    from .model import User
    from .state import State
    from .tokens import Tokens

HOST: Final = "tmi.twitch.tv"
CAPABILITIES: Final = frozenset(f"twitch.tv/{name}" for name in ("commands", "membership", "tags"))
NORMAL: Final = 1000
SILENCE: Final = 300.0
WELCOME: Final = ("001 {} :Welcome, GLHF!", "002 {} :Your host is tmi.twitch.tv",
                  "003 {} :This server is rather new", "004 {} :-", "375 {} :-",
                  "372 {} :You are in a maze of twisty passages.", "376 {} :>")  # fmt: skip


class Chatter(Connection):
    """One connection. It is asked whether it lives after five silent minutes."""

    def __init__(self, request: web.BaseRequest, irc: Irc) -> None:
        super().__init__(request)
        self._irc = irc
        self._password = ""
        self._capabilities: set[str] = set()
        self.user: User | None = None
        self.may_write = False
        self.channels: list[str] = []

    @property
    def idle(self) -> float:
        """It is asked whether it lives after so long."""
        return SILENCE

    def on_idle(self) -> None:
        """Ask whether the client lives."""
        self.send(f"PING :{HOST}\r\n")

    def reconnect(self) -> None:
        """Ask the client to connect anew."""
        self._reply("RECONNECT")

    def receive(self, text: str) -> None:
        """One or more lines."""
        for line in filter(None, text.split("\r\n")):
            command, _, rest = line.partition(" ")
            handler = getattr(self, f"_on_{command.lower()}", None)
            if handler is None:
                self._reply(f"421 {self._login} {command} :Unknown command")
            elif self.user is None and command not in ("CAP", "NICK", "PASS", "PING", "PONG"):
                self._refuse("Login unsuccessful")
            else:
                handler(rest)

    def line(self, text: str, tags: str = "") -> None:
        """Send a line, with its tags if the client wants them."""
        wanted = tags and "twitch.tv/tags" in self._capabilities
        self.send(f"@{tags} {text}\r\n" if wanted else f"{text}\r\n")

    @property
    def _login(self) -> str:
        return self.user.login if self.user else "*"

    def _reply(self, text: str, tags: str = "") -> None:
        self.line(f":{HOST} {text}", tags)

    def _refuse(self, text: str) -> None:
        self._reply(f"NOTICE * :{text}")
        self.send(NORMAL)

    def _on_cap(self, rest: str) -> None:
        wanted = set(rest.partition(":")[2].split())
        known = rest.startswith("REQ ") and wanted <= CAPABILITIES
        self._capabilities |= wanted if known else set()
        self._reply(f"CAP * {'ACK' if known else 'NAK'} :{' '.join(sorted(wanted))}")

    def _on_pass(self, rest: str) -> None:
        self._password = rest.strip()

    def _on_nick(self, rest: str) -> None:
        scheme, _, token = self._password.partition(":")
        if scheme != "oauth" or not token:
            self._refuse("Improperly formatted auth")
            return
        self.user, self.may_write = self._irc.sign_in(token, rest.strip())
        if self.user is None:
            self._refuse("Login authentication failed")
            return
        for line in WELCOME:
            self._reply(line.format(self._login))

    def _on_ping(self, rest: str) -> None:
        self._reply(f"PONG {HOST} {rest}")

    def _on_pong(self, rest: str) -> None:
        """It lives."""

    def _on_join(self, rest: str) -> None:
        for channel in rest.split(","):
            self.channels.append(channel)
            self.line(f"{_source(self._login)} JOIN {channel}")
            room = "emote-only=0;followers-only=-1;r9k=0;room-id=1;slow=0;subs-only=0"
            self._reply(f"ROOMSTATE {channel}", room)

    def _on_part(self, rest: str) -> None:
        if rest in self.channels:
            self.channels.remove(rest)
        self.line(f"{_source(self._login)} PART {rest}")

    def _on_privmsg(self, rest: str) -> None:
        channel, _, text = rest.partition(" :")
        if self.user is not None and self.may_write and channel in self.channels:
            self._irc.say(channel, self.user, text, but=self)


class Irc:
    """All who are in chat."""

    def __init__(self, state: State, tokens: Tokens) -> None:
        self._state = state
        self._tokens = tokens
        self.chatters: list[Chatter] = []

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """A new connection."""
        return await Chatter(request, self).serve(self.chatters)

    def sign_in(self, password: str, login: str) -> tuple[User | None, bool]:
        """Whose token it is, and whether it may write; (None, False) if it may not even read."""
        token = self._tokens.find_valid(password)
        user = None if token is None or "chat:read" not in token.scopes else token.user
        if token is None or user is None or user.login != login.lower():
            self._state.counters.chat_refusals += 1
            return None, False
        self._state.counters.chat_logins += 1
        return user, "chat:edit" in token.scopes

    def say(self, channel: str, user: User, text: str, but: Chatter | None = None) -> int:
        """Hand a message to all in a channel but one; returns to how many."""
        moment = int(time.time() * 1000)
        tags = f"id={uuid.uuid4()};room-id=1;tmi-sent-ts={moment};user-id={user.user_id}"
        present = [each for each in self.chatters if channel in each.channels and each is not but]
        for chatter in present:
            chatter.line(f"{_source(user.login)} PRIVMSG {channel} :{text}", tags)
        return len(present)


def _source(login: str) -> str:
    return f":{login}!{login}@{login}.{HOST}"
