"""EventSub over websockets: sessions, and /helix/eventsub/subscriptions."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .messages import Answer, Call, helix_answer
from .model import Refusal
from .sockets import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from .state import State
    from .tokens import Access, Grant

KEEPALIVE: Final = 10
LONGEST_KEEPALIVE: Final = 600
UNUSED: Final = 10.0
"""Seconds after which a session without a subscription is closed."""
CLIENT_SENT, NO_SUBSCRIPTION = 4001, 4003
NO_SESSION: Final = "websocket transport session does not exist or has already disconnected"
OTHER_USER: Final = "websocket transport cannot have subscriptions created by different users"
SCOPES: Final = {
    "channel.chat.message": "user:read:chat",
    "channel.subscribe": "channel:read:subscriptions",
    "channel.follow": "moderator:read:followers",
}
"""What some types need; the double lets the others pass."""


@dataclass(eq=False)
class Subscription:
    """One subscription, which lives as long as its session and its grant."""

    id: str
    type: str
    version: str
    condition: dict[str, str]
    grant: Grant
    session: Session
    created_at: str
    status: str = "enabled"

    def as_json(self) -> dict[str, object]:
        """As Helix and the messages show it."""
        names = ("id", "status", "type", "version", "condition", "created_at")
        transport = {"method": "websocket", "session_id": self.session.session_id}
        return {name: getattr(self, name) for name in names} | {"transport": transport, "cost": 0}

    def tell(self, kind: str, **payload: object) -> None:
        """Send its session a message about it."""
        payload = {"subscription": self.as_json(), **payload}
        about = {"subscription_type": self.type, "subscription_version": self.version}
        self.session.message(kind, payload, about)


class Session(Connection):
    """One websocket session. It takes over the subscriptions of one that the client will close."""

    def __init__(
        self, request: web.BaseRequest, session_id: str, keepalive: int, former: Session | None
    ) -> None:
        super().__init__(request)
        self.session_id = session_id
        self.keepalive = keepalive
        self.subscriptions: list[Subscription] = []
        if former is not None:
            self.subscriptions, former.subscriptions = former.subscriptions, []
        for subscription in self.subscriptions:
            subscription.session = self
        self._about_itself("welcome", "connected", keepalive_timeout_seconds=keepalive)

    @property
    def idle(self) -> float:
        """A session without a subscription ends, any other one keeps alive."""
        return self.keepalive if self.subscriptions else min(UNUSED, self.keepalive)

    def receive(self, text: str) -> None:
        """A client has nothing to say here."""
        del text
        self.send(CLIENT_SENT)

    def on_idle(self) -> None:
        """Keep alive, or end for want of a subscription."""
        if self.subscriptions:
            self.message("session_keepalive", {})
        else:
            self.send(NO_SUBSCRIPTION)

    def reconnect(self) -> None:
        """Ask the client to come back at another address."""
        url = self._request.url.with_scheme("ws").with_query(id=self.session_id)
        self._about_itself("reconnect", "reconnecting", reconnect_url=str(url))

    def message(
        self, kind: str, payload: Mapping[str, object], about: Mapping[str, str] | None = None
    ) -> None:
        """Send one message."""
        metadata = {"message_id": str(uuid.uuid4()), "message_type": kind}
        metadata |= {"message_timestamp": _now(), **(about or {})}
        self.send(json.dumps({"metadata": metadata, "payload": payload}))

    def _about_itself(self, kind: str, status: str, **more: object) -> None:
        session = {"id": self.session_id, "status": status, "connected_at": _now()}
        unset = {"keepalive_timeout_seconds": None, "reconnect_url": None}
        self.message(f"session_{kind}", {"session": {**session, **unset, **more}})


class EventSub:
    """All sessions and their subscriptions."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.sessions: list[Session] = []

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """A new session."""
        seconds = request.query.get("keepalive_timeout_seconds", "")
        keepalive = int(seconds) if seconds.isdecimal() else KEEPALIVE
        keepalive = min(max(keepalive, KEEPALIVE), LONGEST_KEEPALIVE)
        former = self._session(request.query.get("id", ""))
        session = Session(request, self._state.name(28), keepalive, former)
        return await session.serve(self.sessions)

    def subscriptions(self) -> list[Subscription]:
        """All that live."""
        return [each for session in self.sessions for each in session.subscriptions]

    def notify(self, kind: str, event: Mapping[str, object]) -> int:
        """Send an event to all subscriptions of that type whose condition it meets."""
        found = [each for each in self.subscriptions() if each.type == kind]
        found = [each for each in found if each.condition.items() <= event.items()]
        for subscription in found:
            subscription.tell("notification", event=event)
        return len(found)

    def revoke(self, grant: Grant) -> None:
        """The user has disconnected the application: its subscriptions end."""
        for subscription in self.subscriptions():
            if subscription.grant is grant:
                subscription.status = "authorization_revoked"
                subscription.tell("revocation")
                subscription.session.subscriptions.remove(subscription)

    def handle(self, call: Call, token: Access) -> Answer:
        """/helix/eventsub/subscriptions: create, list or delete them."""
        mine = [each for each in self.subscriptions() if each.grant is token.grant]
        if call.method == "POST":
            return _listed(202, [self._create(call, token, mine)], len(mine) + 1)
        if call.method == "DELETE":
            found = next((each for each in mine if each.id == call.query.get("id")), None)
            if found is None:
                raise Refusal(404, "subscription not found")
            found.session.subscriptions.remove(found)
            return Answer(204)
        return _listed(200, mine, len(mine))

    def _create(self, call: Call, token: Access, mine: list[Subscription]) -> Subscription:
        body: Any = call.json if isinstance(call.json, dict) else {}
        transport = body.get("transport") or {}
        if token.grant is None or transport.get("method") != "websocket":
            raise Refusal(400, "invalid transport and auth combination")
        kind, version = str(body.get("type", "")), str(body.get("version", ""))
        condition = body.get("condition")
        if not kind or not version or not isinstance(condition, dict):
            raise Refusal(400, "'type', 'version' and 'condition' are required")
        session = self._session(str(transport.get("session_id", "")))
        if session is None:
            raise Refusal(400, NO_SESSION)
        if any(each.grant is not token.grant for each in session.subscriptions):
            raise Refusal(400, OTHER_USER)
        if SCOPES.get(kind, "") not in ("", *token.scopes):
            raise Refusal(403, "subscription missing proper authorization")
        if any((each.type, each.condition) == (kind, condition) for each in mine):
            raise Refusal(409, "subscription already exists")
        name, now = str(uuid.uuid4()), _now()
        made = Subscription(name, kind, version, condition, token.grant, session, now)
        session.subscriptions.append(made)
        return made

    def _session(self, session_id: str) -> Session | None:
        return next((each for each in self.sessions if each.session_id == session_id), None)


def _listed(status: int, found: list[Subscription], total: int) -> Answer:
    data = [each.as_json() for each in found]
    costs = {"total": total, "total_cost": 0, "max_total_cost": 10}
    return helix_answer(status, {"data": data, **costs, "pagination": {}})


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
