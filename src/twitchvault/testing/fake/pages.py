"""The pages a person clicks through: plain HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Client, User

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#f3f2f7;--card:#fff;--ink:#1b1823;--soft:#6a6577;--line:#dcd8e6;
--accent:#7a3ff2;--warn-bg:#fff4d6;--warn-ink:#614700}
@media(prefers-color-scheme:dark){:root{--bg:#131218;--card:#1e1c25;--ink:#efedf5;--soft:#a29cb3;
--line:#36323f;--accent:#8f5cf6;--warn-bg:#3a2f10;--warn-ink:#f6dfa0}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{width:100%;max-width:29rem;background:var(--card);border:1px solid var(--line);
border-radius:14px;overflow:hidden;box-shadow:0 8px 30px rgb(0 0 0/.08)}
.double{margin:0;padding:.7rem 1.5rem;background:var(--warn-bg);color:var(--warn-ink);
font-size:.875rem}
.body{padding:1.5rem}
h1{margin:0 0 .75rem;font-size:1.35rem;line-height:1.3;overflow-wrap:anywhere}
p{margin:0 0 1rem;color:var(--soft)}
h2,legend{margin:0 0 .4rem;padding:0;font-size:.8rem;font-weight:600;letter-spacing:.04em;
text-transform:uppercase;color:var(--soft)}
ul{margin:0 0 1.25rem;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.4rem}
li{padding:.1rem .55rem;border:1px solid var(--line);border-radius:6px;
font:.875rem/1.6 ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
fieldset{margin:0 0 1.25rem;padding:0;border:0;max-height:16rem;overflow:auto}
label.user{display:flex;align-items:center;gap:.75rem;padding:.55rem .7rem;
border:1px solid var(--line);border-radius:8px;margin-bottom:.4rem;cursor:pointer}
label.user:has(:checked){border-color:var(--accent);box-shadow:inset 0 0 0 1px var(--accent)}
.user small{color:var(--soft);margin-left:auto;font-variant-numeric:tabular-nums}
input[type=radio]{accent-color:var(--accent);margin:0}
input[type=text]{width:100%;padding:.65rem .8rem;border:1px solid var(--line);border-radius:8px;
background:transparent;color:inherit;font:1.15rem ui-monospace,"DejaVu Sans Mono",monospace;
letter-spacing:.12em;text-transform:uppercase}
.code{font:600 1.5rem ui-monospace,"DejaVu Sans Mono",monospace;letter-spacing:.18em;
color:var(--ink)}
.row{display:flex;gap:.6rem;margin-top:1rem}
button{flex:1;padding:.65rem 1rem;border:1px solid var(--line);border-radius:8px;
background:transparent;color:inherit;font:inherit;font-weight:600;cursor:pointer}
button.go{background:var(--accent);border-color:var(--accent);color:#fff}
button:focus-visible,input:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
""".strip()

_FRAME: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - FakeTwitch</title>
<style>{style}</style>
</head>
<body>
<main>
<p class="double"><strong>FakeTwitch.</strong> A double for tests. This is not Twitch.</p>
<div class="body">
{body}
</div>
</main>
</body>
</html>
"""


def consent(
    action: str,
    client: Client,
    scopes: Sequence[str],
    users: Sequence[User],
    chosen: str | None,
    hidden: Mapping[str, str],
) -> str:
    """Ask whether a user lets the application in; a form that posts to `action`."""
    if not users:
        return notice(
            "Nobody to sign in as", "The double knows no user yet: call add_user() first."
        )
    name = escape(client.name)
    user_code = hidden.get("device-code")
    code = (
        f'<p>Does your device show this code?<br><span class="code">{escape(user_code)}</span></p>'
        if user_code
        else ""
    )
    body = f"""<h1>{name} wants to use your account</h1>
<p>Client id {escape(client.client_id)}</p>
{code}
<h2>It asks for</h2>
{_scope_list(scopes)}
<form method="post" action="{escape(action)}">
{_hidden(hidden)}
<fieldset><legend>Sign in as</legend>
{_choices(users, chosen)}
</fieldset>
<div class="row">
<button class="go" name="decision" value="authorize">Authorize</button>
<button name="decision" value="cancel">Cancel</button>
</div>
</form>"""
    return _frame(f"Authorize {client.name}", body)


def enter_code() -> str:
    """Ask for the code that the device shows."""
    body = """<h1>Enter the code on your device</h1>
<form method="get" action="/activate">
<input type="text" name="device-code" aria-label="Code" maxlength="9" autocomplete="off"
autofocus required>
<div class="row"><button class="go">Continue</button></div>
</form>"""
    return _frame("Activate", body)


def notice(title: str, text: str) -> str:
    """A page that only says something."""
    return _frame(title, f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>")


def _frame(title: str, body: str) -> str:
    return _FRAME.format(title=escape(title), style=_STYLE, body=body)


def _scope_list(scopes: Sequence[str]) -> str:
    if not scopes:
        return "<p>Nothing but who you are (no scopes).</p>"
    return "<ul>" + "".join(f"<li>{escape(scope)}</li>" for scope in scopes) + "</ul>"


def _hidden(hidden: Mapping[str, str]) -> str:
    return "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in hidden.items()
    )


def _choices(users: Sequence[User], chosen: str | None) -> str:
    picked = chosen if any(user.user_id == chosen for user in users) else users[0].user_id
    return "\n".join(_choice(user, user.user_id == picked) for user in users)


def _choice(user: User, checked: bool) -> str:
    mark = " checked" if checked else ""
    return (
        f'<label class="user"><input type="radio" name="user" value="{escape(user.user_id)}"{mark}>'
        f"<span>{escape(user.display_name)}</span><small>{escape(user.login)}</small></label>"
    )
