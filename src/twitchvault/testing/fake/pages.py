"""The pages a person clicks through: plain HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Client, User

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - FakeTwitch</title>
<style>
:root{{color-scheme:light dark}}
body{{max-width:32rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}}
header{{padding:.5rem 1rem;border:1px solid;border-radius:.5rem}}
h1{{font-size:1.4rem;overflow-wrap:anywhere}}
fieldset,button,input[type=text]{{font:inherit;padding:.5rem 1rem;margin:.5rem 0}}
label{{display:block}}
</style>
<header><strong>FakeTwitch.</strong> A double for tests. This is not Twitch.</header>
<h1>{heading}</h1>
{body}
</html>
"""

ENTER_CODE: Final = """<form action="/activate">
<input type="text" name="device-code" aria-label="Code" maxlength="9" autofocus required>
<button>Continue</button>
</form>"""


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
        text = "The double knows no user yet: call add_user() first."
        return page("Nobody to sign in as", text)
    code = hidden.get("device-code")
    question = f"<p>Does your device show the code <b>{escape(code)}</b>?</p>" if code else ""
    asked = ", ".join(map(escape, scopes)) or "nothing but who you are (no scopes)"
    fields = (
        f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in hidden.items()
    )
    chosen = chosen if any(user.user_id == chosen for user in users) else users[0].user_id
    body = f"""<p>Client id {escape(client.client_id)}</p>
{question}
<p>It asks for: {asked}</p>
<form method="post" action="{escape(action)}">
{"".join(fields)}
<fieldset><legend>Sign in as</legend>
{"".join(_choice(user, checked=user.user_id == chosen) for user in users)}
</fieldset>
<button name="decision" value="authorize">Authorize</button>
<button name="decision" value="cancel">Cancel</button>
</form>"""
    return page(f"{client.name} wants to use your account", body=body)


def page(title: str, text: str = "", *, body: str = "") -> str:
    """A page with a heading and some text, or a body that is HTML already."""
    heading = escape(title)
    return _PAGE.format(title=heading, heading=heading, body=body or f"<p>{escape(text)}</p>")


def _choice(user: User, *, checked: bool) -> str:
    mark = " checked" if checked else ""
    return (
        f'<label><input type="radio" name="user" value="{escape(user.user_id)}"{mark}>'
        f" {escape(user.display_name)} ({escape(user.login)})</label>\n"
    )
