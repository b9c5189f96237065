"""EventSub over websockets: sessions, and /helix/eventsub/subscriptions."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .messages import Answer, Call, helix_answer
from .model import Refusal
from .sockets import Connection, Connections

if TYPE_CHECKING:
    from aiohttp import web

    from .state import State
    from .tokens import Access, Grant

KEEPALIVE: Final = 10
LONGEST_KEEPALIVE: Final = 600
UNUSED: Final = 10.0
"""Seconds after which a session without a subscription is closed."""
CLIENT_SENT, NO_SUBSCRIPTION = 4001, 4003
SCOPES: Final = {
    "channel.chat.message": "user:read:chat",
    "channel.subscribe": "channel:read:subscriptions",
    "channel.follow": "moderator:read:followers",
}
"""What some types need; the double lets the others pass."""


@dataclass(eq=False)
class Subscription:
    """One subscription, which lives as long as its session and its grant."""

    subscription_id: str
    type: str
    version: str
    condition: dict[str, str]
    grant: Grant
    session: Session
    created_at: str
    status: str = "enabled"

    def as_json(self) -> dict[str, object]:
        """As Helix and the messages show it."""
        return {
            "id": self.subscription_id,
            "status": self.status,
            "type": self.type,
            "version": self.version,
            "condition": self.condition,
            "created_at": self.created_at,
            "transport": {"method": "websocket", "session_id": self.session.session_id},
            "cost": 0,
        }


class Session(Connection):
    """One websocket session. `replaced`: the session that it continues after a reconnect."""

    def __init__(
        self,
        request: web.BaseRequest,
        session_id: str,
        keepalive: int,
        replaced: Session | None,
    ) -> None:
        super().__init__(request)
        self.session_id = session_id
        self.keepalive = keepalive
        self.subscriptions: dict[str, Subscription] = {}
        self._replaced = replaced

    @property
    def idle(self) -> float:
        """A session without a subscription ends, any other one keeps alive."""
        return self.keepalive if self.subscriptions else min(UNUSED, self.keepalive)

    def begin(self) -> None:
        """Welcome, with the subscriptions of the session before, which the client closes."""
        if self._replaced is not None:
            self.subscriptions = self._replaced.subscriptions
            for subscription in self.subscriptions.values():
                subscription.session = self
            self._replaced.subscriptions = {}
        session = self._session("connected") | {"keepalive_timeout_seconds": self.keepalive}
        self.message("session_welcome", {"session": session})

    def receive(self, text: str) -> None:
        """A client has nothing to say here."""
        del text
        self.end(CLIENT_SENT)

    def on_idle(self) -> None:
        """Keep alive, or end for want of a subscription."""
        if self.subscriptions:
            self.message("session_keepalive", {})
        else:
            self.end(NO_SUBSCRIPTION)

    def reconnect(self) -> None:
        """Ask the client to come back at another address."""
        url = self._request.url.with_scheme("ws").with_query(id=self.session_id)
        session = self._session("reconnecting") | {"reconnect_url": str(url)}
        self.message("session_reconnect", {"session": session})

    def message(self, kind: str, payload: dict[str, object], **metadata: str) -> None:
        """Send one message."""
        about = {"message_id": str(uuid.uuid4()), "message_type": kind, "message_timestamp": _now()}
        self.send(json.dumps({"metadata": about | metadata, "payload": payload}))

    def about(self, kind: str, subscription: Subscription, **payload: object) -> None:
        """Send a message about one subscription."""
        self.message(
            kind,
            {"subscription": subscription.as_json(), **payload},
            subscription_type=subscription.type,
            subscription_version=subscription.version,
        )

    def _session(self, status: str) -> dict[str, object]:
        return {
            "id": self.session_id,
            "status": status,
            "connected_at": _now(),
            "keepalive_timeout_seconds": None,
            "reconnect_url": None,
        }


class EventSub:
    """All sessions and their subscriptions."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.sessions: Connections[Session] = Connections()

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """A new session."""
        seconds = request.query.get("keepalive_timeout_seconds", str(KEEPALIVE))
        keepalive = int(seconds) if seconds.isdecimal() else KEEPALIVE
        replaced = self._session(request.query.get("id", ""))
        keepalive = min(max(keepalive, KEEPALIVE), LONGEST_KEEPALIVE)
        session = Session(request, self._state.name(28), keepalive, replaced)
        return await self.sessions.carry(session)

    def subscriptions(self) -> list[Subscription]:
        """All that live."""
        return [each for session in self.sessions for each in session.subscriptions.values()]

    def notify(self, kind: str, event: dict[str, object]) -> int:
        """Send an event to all subscriptions of that type whose condition it meets."""
        found = [each for each in self.subscriptions() if each.type == kind]
        found = [each for each in found if each.condition.items() <= event.items()]
        for subscription in found:
            subscription.session.about("notification", subscription, event=event)
        return len(found)

    def revoke(self, grant: Grant) -> None:
        """The user has disconnected the application: its subscriptions end."""
        for subscription in self.subscriptions():
            if subscription.grant is grant:
                subscription.status = "authorization_revoked"
                subscription.session.about("revocation", subscription)
                del subscription.session.subscriptions[subscription.subscription_id]

    # Helix

    def handle(self, call: Call, token: Access) -> Answer:
        """Create, list or delete subscriptions."""
        mine = [each for each in self.subscriptions() if each.grant is token.grant]
        if call.method == "POST":
            return _listed(202, [self._create(call, token, mine)], len(mine) + 1)
        if call.method == "DELETE":
            found = [each for each in mine if each.subscription_id == call.query.get("id")]
            if not found:
                raise Refusal(404, "subscription not found")
            del found[0].session.subscriptions[found[0].subscription_id]
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
            raise Refusal(
                400, "websocket transport session does not exist or has already disconnected"
            )
        others = [each for each in session.subscriptions.values() if each.grant is not token.grant]
        if others:
            text = "websocket transport cannot have subscriptions created by different users"
            raise Refusal(400, text)
        if SCOPES.get(kind, "") not in ("", *token.scopes):
            raise Refusal(403, "subscription missing proper authorization")
        if any((each.type, each.condition) == (kind, condition) for each in mine):
            raise Refusal(409, "subscription already exists")
        made = Subscription(
            str(uuid.uuid4()), kind, version, condition, token.grant, session, _now()
        )
        session.subscriptions[made.subscription_id] = made
        return made

    def _session(self, session_id: str) -> Session | None:
        return next((each for each in self.sessions if each.session_id == session_id), None)


def _listed(status: int, found: list[Subscription], total: int) -> Answer:
    data = [each.as_json() for each in found]
    costs = {"total": total, "total_cost": 0, "max_total_cost": 10}
    return helix_answer(status, {"data": data, **costs, "pagination": {}})


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
