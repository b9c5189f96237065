"""Logins under way: device codes and authorization codes. No HTTP here."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters, ascii_uppercase, digits
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from .model import Pair, Refusal

if TYPE_CHECKING:
    from .consent import ConsentRequest
    from .model import Client, User
    from .state import State
    from .tokens import Tokens

POLL_TOLERANCE: Final = 0.9
SLOW_DOWN: Final = 5.0


@dataclass(eq=False, slots=True)
class DeviceLogin:
    """One device code, from its start until its pair is fetched."""

    device_code: str
    user_code: str
    client: Client
    scopes: tuple[str, ...]
    started: float
    expires_at: float
    interval: float
    status: Literal["pending", "approved", "denied", "dead"] = "pending"
    user: User | None = None
    last_poll: float | None = None


class CodeLogin(NamedTuple):
    """What an authorization code stands for."""

    request: ConsentRequest
    user: User
    expires_at: float


class Logins:
    """The device and authorization codes, and who consents by command."""

    def __init__(self, state: State, tokens: Tokens) -> None:
        self._state = state
        self._tokens = tokens
        self._devices: dict[str, DeviceLogin] = {}
        self._codes: dict[str, CodeLogin] = {}
        self.auto_approve: tuple[User, float] | None = None
        self.auto_consent: User | None = None
        self.auto_consent_deny = False

    def start_device(self, client: Client, scopes: tuple[str, ...]) -> DeviceLogin:
        """A new device code."""
        state, settings, now = self._state, self._state.settings, self._state.now()
        code, user_code = state.secret(40, ascii_letters + digits), state.name(8, ascii_uppercase)
        end, interval = now + settings.device_code_lifetime, settings.device_interval
        login = DeviceLogin(code, user_code, client, scopes, now, end, interval)
        self._devices[code] = login
        return login

    def poll(self, client: Client, device_code: str) -> Pair:
        """The pair, once, after approval; a refusal at any other time."""
        login = self._devices.get(device_code)
        if login is None or login.client is not client or login.status == "dead":
            raise Refusal(400, "invalid device code")
        self._check_time(login)
        self._apply_auto_approve(login)
        if login.status == "approved" and login.user is not None:
            login.status = "dead"
            return self._tokens.issue(client, login.user, login.scopes)
        raise self._not_approved(login)

    def _check_time(self, login: DeviceLogin) -> None:
        now = self._state.now()
        if now >= login.expires_at:
            raise Refusal(400, login.client.switches.expired_device)
        rule = login.client.switches.fast_poll
        since = None if login.last_poll is None else now - login.last_poll
        login.last_poll = now
        if rule == "ignore" or since is None or since >= login.interval * POLL_TOLERANCE:
            return
        if rule == "kill":
            login.status = "dead"
            raise Refusal(400, "invalid device code")
        login.interval += SLOW_DOWN
        raise Refusal(400, "slow_down")

    def _not_approved(self, login: DeviceLogin) -> Refusal:
        switches = login.client.switches
        if login.status == "denied" and switches.denied_device is not None:
            return Refusal(400, switches.denied_device)
        if switches.spurious_invalid_device > 0:
            switches.spurious_invalid_device -= 1
            return Refusal(400, "invalid device code")
        return Refusal(400, "authorization_pending")

    def _apply_auto_approve(self, login: DeviceLogin) -> None:
        if login.status == "pending" and self.auto_approve is not None:
            user, after = self.auto_approve
            if self._state.now() >= login.started + after:
                login.user, login.status = user, "approved"

    def pending(self, user_code: str) -> DeviceLogin | None:
        """The login that still waits under this user code; case and dashes do not matter."""
        wanted = user_code.strip().replace("-", "").upper()
        return next((login for login in self.waiting() if login.user_code == wanted), None)

    def waiting(self) -> list[DeviceLogin]:
        """All device logins that wait for somebody's decision."""
        now = self._state.now()
        fresh = [login for login in self._devices.values() if now < login.expires_at]
        for login in fresh:
            self._apply_auto_approve(login)
        return [login for login in fresh if login.status == "pending"]

    def decide(self, user_code: str, user: User | None) -> None:
        """Approve as `user`, or deny (None), a login that waits."""
        login = self.pending(user_code)
        if login is None:
            raise ValueError(f"no device login waits under user code {user_code!r}")
        login.user = user
        login.status = "denied" if user is None else "approved"

    def new_code(self, request: ConsentRequest, user: User) -> str:
        """A new authorization code."""
        code = self._state.token()
        expires_at = self._state.now() + self._state.settings.code_lifetime
        self._codes[code] = CodeLogin(request, user, expires_at)
        return code

    def take_code(self, client: Client, code: str, redirect_uri: str) -> CodeLogin:
        """The login of a code, once."""
        login = self._codes.get(code)
        known = login is not None and login.request.client is client
        if login is None or not known or self._state.now() >= login.expires_at:
            raise Refusal(400, "Invalid authorization code")
        if redirect_uri != login.request.redirect_uri:
            raise Refusal(400, "Parameter redirect_uri does not match registered URI")
        return self._codes.pop(code)
