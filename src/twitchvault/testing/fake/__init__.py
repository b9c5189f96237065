"""A double of Twitch's identity service and of a little Helix, over real HTTP on this machine.

It is as strict as Twitch is, and stricter where nobody knows: what a client gets away with here, it
gets away with there. It needs aiohttp and nothing else.

    from twitchvault.testing import FakeTwitch

    async with FakeTwitch(seed=7) as twitch:
        client = twitch.register_client()                 # public=True: without a secret
        alice = twitch.add_user("alice")
        pair = twitch.issue(client, alice, ["chat:read"])
        async with App(client.client_id, client.client_secret,
                       id_url=twitch.id_url, api_url=twitch.api_url) as app:
            ...
        assert twitch.counts.replays == 0

It plays:

    POST /oauth2/token     client_credentials, refresh_token, device code, authorization_code
    POST /oauth2/device    POST /oauth2/revoke    GET /oauth2/validate
    GET  /oauth2/authorize the code and the implicit flow, with a page to click on
    GET  /activate         the page behind `verification_uri`
    GET  /helix/users      and what `add_resource` adds; Ratelimit-* headers on every answer

What decides (`Switches`, per client; `Settings`, for the whole double; both explain every field):

    FakeTwitch(port=0, *, seed=None, host="127.0.0.1", control=False, **settings)
    twitch.user_token_lifetime = 2.0          any field of Settings; or configure(name=value)
    client.switches.fast_poll = "slow_down"   any field of Switches; or switch(client, name=value);
                                              or register_client(..., name=value)

What a test says (plain methods; a client may be named by its id, a user by id or login):

    register_client(*, public, redirect_uris, client_id, client_secret, name, **switches) -> Client
    add_user(login, *, user_id, display_name) -> User        rename(user, login)
    rotate_secret(client)

    issue(client, user, scopes=(), expires_in=None) -> Pair  issue_expired(client, user, scopes=())
    live_pair(client, user) -> Pair | None                   the newest pair
    is_live(access_token)    is_live_refresh(refresh_token)  validations_of(access_token)
    expire_access(user or token, client=None)                kill_access_token(token)
    kill_app_tokens(client)  disconnect(client, user)        change_password(user)

    approve(user_code, user)   deny(user_code)   auto_approve(user, after=seconds)
    waiting_codes()            auto_consent(user, deny=False)

    fail(endpoint, status=, body=, content_type=, headers=, times=1, when="before" | "after",
         drop=False, delay=0, match=None)
    delay(endpoint, headers=seconds, body=seconds)
    gate = hold(endpoint, when=, match=)    await gate.reached(n)    gate.release()
    clear_faults()
    now()   advance(seconds)

"before" commits nothing; "after" commits, and the answer is lost. Endpoints: token, device,
validate, revoke, authorize, activate, helix; or finer: token:refresh_token, token:device,
token:code, token:client_credentials, helix:<path>. `HTML_PAGE` is a body such as a cache layer
sends. A good refresh token that is refused once: `switch(client, false_invalid_refresh=1)`.

What a test asks:

    counts     Counts: exchanges, replays, refused_refreshes, expiries, validations, app_tokens, ...
    requests   a log of RequestLog: time, method, path, endpoint, parameter names, status
    leaks      secrets and tokens that came in a query string
    secrets    every secret, token and code handed out, to search logs for

In a process of its own, for tests with several processes; the same commands, as coroutines, and
`await twitch.counts()`. The double ends with this process, however that ends:

    async with FakeTwitchProcess() as twitch:
        client = await twitch.register_client(public=True)
        gate = await twitch.hold("token:refresh_token", when="after")

`RemoteTwitch(url)` attaches to one that runs. By hand:

    python -m twitchvault.testing.fake --port 8080 --user alice
    curl -H 'content-type: application/json' -d '{"kwargs": {"public": true}}' \\
         http://127.0.0.1:8080/control/register_client
"""

from .commands import Commands
from .faults import HTML_PAGE, Gate
from .model import Client, Counts, Leak, Pair, RequestLog, Settings, Switches, User
from .process import FakeTwitchProcess, RemoteGate, RemoteTwitch
from .server import FakeTwitch

__all__ = [
    "HTML_PAGE",
    "Client",
    "Commands",
    "Counts",
    "FakeTwitch",
    "FakeTwitchProcess",
    "Gate",
    "Leak",
    "Pair",
    "RemoteGate",
    "RemoteTwitch",
    "RequestLog",
    "Settings",
    "Switches",
    "User",
]
