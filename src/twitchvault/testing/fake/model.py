"""The double's data: clients, users, pairs, counters, and every setting and switch."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

DAY: Final = 86_400.0

Seconds: TypeAlias = float | tuple[float, float]
"""A duration: a number is exact, a pair is a range to draw from."""


@dataclass(eq=False)
class Settings:
    """The double's own switches, which are arguments and attributes of `FakeTwitch`; in seconds.

    user_token_lifetime: a number is exact; a range also makes `validate` promise more than the
        token answer did, by `validate_surplus` seconds, as the real service does.
    validate_surplus: seconds, or a range to draw from.
    app_token_lifetime, refresh_token_lifetime, device_code_lifetime, code_lifetime: how long each
        is good.
    id_token_lifetime: how long an id token is good.
    device_interval: the least time between two polls of a device code.
    identity_limit, identity_window: more calls of one client than that within the window draw an
        empty 429; None, the default, means no limit.
    helix_limit, helix_refill: points in a bucket, points refilled per minute.
    helix_headers: False leaves the Ratelimit-* headers out; 400 and 401 never have them.
    identity_content_type: of the identity service's answers; "text/html" has been seen too.
    """

    user_token_lifetime: Seconds = (13_200.0, 14_600.0)
    validate_surplus: Seconds = (0.0, 720.0)
    app_token_lifetime: Seconds = (58 * DAY, 60 * DAY)
    refresh_token_lifetime: float = 30 * DAY
    device_code_lifetime: float = 1800
    device_interval: float = 5
    code_lifetime: float = 600
    id_token_lifetime: float = 900
    identity_limit: int | None = None
    identity_window: float = 60
    helix_limit: int = 800
    helix_refill: float = 600
    helix_headers: bool = True
    identity_content_type: str = "application/json"


@dataclass
class Switches:
    """What is unknown about Twitch, or varies: per client. The defaults are the strict ones.

    legacy: tokens never expire, no `expires_in` in answers, 0 from `validate`.
    confidential_refresh: "rotate" (a new token, the old one is dead, no punishment), "rotate-keep"
        (a new token, the old one goes on working), "same" (the same token comes back).
    refresh_kills_access: a refresh kills the access token that it replaces.
    punish_replay: a spent refresh token kills the whole connection; None: for public clients only.
    dead_refresh_status: 400 or 401 for a refresh token that is no longer good.
    false_invalid_refresh: so many of the next refreshes are refused with `Invalid refresh token`
        although the token is good and stays so.
    expired_device, denied_device: the message for an expired and for a denied device code;
        None keeps answering `authorization_pending` until the code expires.
    fast_poll: "ignore", "slow_down" (message, and 5 s more are due from then on), or "kill".
    spurious_invalid_device: so many of the next polls get `invalid device code` while pending.
    honour_scope, honour_query: the device start heeds `scope`, and scopes in the query string.
    scope_shape: of token answers: "list" (absent when empty), "string", "blank" (`[""]` when
        empty).
    app_answer: "lean", or "padded" with an empty `refresh_token` and `scope`.
    app_subject: `login` and `user_id` of a validated app token are "absent", as recorded in 2020
        and 2023, or "null", as documented.
    app_scopes: `scopes` of a validated app token is "null", as recorded in 2023, or an empty
        "list", as in 2020.
    extra_keys: token answers carry keys nobody knows.
    omit_expires_in, omit_token_type: token answers lack that key.
    token_limit, over_limit: live access tokens of one user; one more kills the oldest ("evict") or
        is refused ("fail").
    reconsent: a second approval leaves the first pair alive ("keep") or not ("replace").
    unknown_scopes: a scope that Twitch does not know is refused ("refuse") or granted ("grant").
    """

    legacy: bool = False
    confidential_refresh: Literal["rotate", "rotate-keep", "same"] = "rotate"
    refresh_kills_access: bool = True
    punish_replay: bool | None = None
    dead_refresh_status: Literal[400, 401] = 400
    false_invalid_refresh: int = 0
    expired_device: str = "invalid device code"
    denied_device: str | None = None
    fast_poll: Literal["ignore", "slow_down", "kill"] = "ignore"
    spurious_invalid_device: int = 0
    honour_scope: bool = False
    honour_query: bool = False
    scope_shape: Literal["list", "string", "blank"] = "list"
    app_answer: Literal["lean", "padded"] = "lean"
    app_subject: Literal["absent", "null"] = "absent"
    app_scopes: Literal["null", "list"] = "null"
    extra_keys: bool = False
    omit_expires_in: bool = False
    omit_token_type: bool = False
    token_limit: int = 50
    over_limit: Literal["evict", "fail"] = "evict"
    reconsent: Literal["keep", "replace"] = "keep"
    unknown_scopes: Literal["refuse", "grant"] = "refuse"


@dataclass(eq=False)
class Client:
    """A registered application; `client_secret` is None for a public one."""

    client_id: str
    client_secret: str | None = field(repr=False)
    redirect_uris: tuple[str, ...] = ()
    name: str = "An application"
    switches: Switches = field(default_factory=Switches, repr=False)

    @property
    def public(self) -> bool:
        """Whether the client has no secret at all."""
        return self.client_secret is None


@dataclass(eq=False)
class User:
    """A Twitch user: the id stays, the login may change."""

    user_id: str
    login: str
    display_name: str


@dataclass(frozen=True)
class Pair:
    """What a token answer says; `expires_in` is None where the answer has no such key."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int | None
    scopes: tuple[str, ...]
    client_id: str
    user_id: str


@dataclass
class Counts:
    """How often what happened; `FakeTwitch.counts` is a copy.

    exchanges: refresh grants that succeeded, whether or not the answer arrived.
    replays: spent refresh tokens that were presented. A correct client has none.
    refused_refreshes: refresh requests that the double itself refused, replays among them.
    expiries: distinct access tokens that were presented after they had expired.
    secrets_in_query: secrets and tokens that arrived in a query string.
    chat_logins, chat_refusals: IRC connections that were let in, or refused.
    rate_limited: 429 answers because a limit was passed (not those of `fail`).
    """

    exchanges: int = 0
    replays: int = 0
    refused_refreshes: int = 0
    validations: int = 0
    app_tokens: int = 0
    device_starts: int = 0
    polls: int = 0
    code_exchanges: int = 0
    revocations: int = 0
    helix_calls: int = 0
    helix_unauthorized: int = 0
    rate_limited: int = 0
    secrets_in_query: int = 0
    expiries: int = 0
    chat_logins: int = 0
    chat_refusals: int = 0

    def add(self, endpoint: str, status: int) -> None:
        """Count a request by what the double itself answered."""
        good, limited = status == HTTPStatus.OK, status == HTTPStatus.TOO_MANY_REQUESTS
        helix, refresh = endpoint.startswith("helix:"), endpoint == "token:refresh_token"
        self.exchanges += good and refresh
        self.refused_refreshes += refresh and not good and not limited
        self.validations += endpoint == "validate" and not limited
        self.app_tokens += good and endpoint == "token:client_credentials"
        self.device_starts += good and endpoint == "device"
        self.polls += endpoint == "token:device" and not limited
        self.code_exchanges += good and endpoint == "token:code"
        self.revocations += good and endpoint == "revoke"
        self.helix_calls += helix
        self.helix_unauthorized += helix and status == HTTPStatus.UNAUTHORIZED
        self.rate_limited += limited


@dataclass(frozen=True)
class RequestLog:
    """One request: parameter names, never values; status 0 means that no answer was sent.

    secrets_in_query: the parameters of the query string that held a secret or a token.
    """

    time: float
    method: str
    path: str
    endpoint: str
    parameters: tuple[str, ...]
    secrets_in_query: tuple[str, ...]
    status: int


@dataclass(eq=False)
class Refusal(Exception):
    """An error answer of the service: the HTTP status and the exact message."""

    status: int
    message: str


def apply_options(target: Settings | Switches, options: dict[str, object]) -> None:
    """Set fields by name; an unknown name is a TypeError, an impossible choice a ValueError."""
    kinds = get_type_hints(Settings if isinstance(target, Settings) else Switches)
    for name, value in options.items():
        if name not in kinds:
            raise TypeError(f"unknown switch {name!r}; there are: {', '.join(sorted(kinds))}")
        choices = get_args(kinds[name]) if get_origin(kinds[name]) is Literal else ()
        if choices and value not in choices:
            raise ValueError(f"switch {name!r}: expected one of {choices}, not {value!r}")
        setattr(target, name, value)
