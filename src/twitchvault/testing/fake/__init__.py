"""A double of Twitch's identity service and of a little Helix, over real HTTP on this machine.

It is as strict as Twitch is, and stricter where Twitch's behaviour is not known. It needs aiohttp
and nothing else, but for the id tokens of the scope `openid`, which PyJWT signs. It serves:

    POST /oauth2/token     client_credentials, refresh_token, device code, authorization_code
    POST /oauth2/device    POST /oauth2/revoke    GET /oauth2/validate
    GET  /oauth2/authorize the code flow, with a page to click on
    GET  /oauth2/keys      what id tokens are signed with
    GET  /activate         the page behind `verification_uri`
    GET  /                 users, applications, and the codes that wait
    GET  /helix/users      and what `add_resource` adds
    ws   /ws, /irc         EventSub with /helix/eventsub/subscriptions, and chat as IRC

`Commands` and `Faults` have all that a test can do with it. `Switches` decide per client,
`Settings` for the whole double; both explain every field:

    twitch.user_token_lifetime = 2.0          any field of Settings; or configure(name=value)
    client.switches.fast_poll = "slow_down"   any field of Switches; or switch(client, name=value);
                                              or register_client(..., name=value)
"""

from .commands import Commands
from .faults import Gate
from .messages import HTML_PAGE, TOO_MANY_CALLS, TOO_MANY_SUBSCRIPTIONS
from .model import Client, Counts, Pair, RequestLog, Settings, Switches, User
from .process import FakeTwitchProcess, RemoteGate, RemoteTwitch
from .server import FakeTwitch

__all__ = [
    "HTML_PAGE",
    "TOO_MANY_CALLS",
    "TOO_MANY_SUBSCRIPTIONS",
    "Client",
    "Commands",
    "Counts",
    "FakeTwitch",
    "FakeTwitchProcess",
    "Gate",
    "Pair",
    "RemoteGate",
    "RemoteTwitch",
    "RequestLog",
    "Settings",
    "Switches",
    "User",
]
