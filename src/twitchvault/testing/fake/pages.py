"""The pages a person clicks through: plain HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Client, User

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading} - FakeTwitch</title>
<style>
:root{{color-scheme:light dark}}
body{{max-width:32rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}}
button,input{{font:inherit;padding:.5rem 1rem}}
</style>
<p><strong>FakeTwitch.</strong> A double for tests. This is not Twitch.</p>
<h1>{heading}</h1>
{body}
</html>
"""

_CONSENT: Final = """<p>Client id {client_id}</p>
<p>It asks for: {scopes}</p>
<form method="post" action="{action}">
{hidden}
<p><label>Sign in as <input name="user" value="{login}" list="users" required></label></p>
<datalist id="users">{users}</datalist>
<button name="decision" value="authorize">Authorize</button>
<button name="decision" value="cancel" formnovalidate>Cancel</button>
</form>"""


def consent(
    action: str,
    client: Client,
    scopes: Iterable[str],
    users: Iterable[User],
    login: str,
    hidden: Mapping[str, str],
) -> str:
    """Ask whether a user, at first `login`, lets the application in; a form that posts."""
    code = hidden.get("device-code")
    body = _CONSENT.format(
        client_id=escape(client.client_id),
        scopes=escape(", ".join(scopes)) or "nothing but who you are (no scopes)",
        action=escape(action),
        hidden="".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in hidden.items()
        ),
        login=escape(login),
        users="".join(
            f'<option value="{escape(user.login)}">{escape(user.display_name)}</option>'
            for user in users
        ),
    )
    question = f"<p>Does your device show the code <b>{escape(code)}</b>?</p>" if code else ""
    return page(f"{client.name} wants to use your account", body=question + body)


def page(heading: str, text: str = "", *, body: str = "") -> str:
    """A page with a heading and some text, or a body that is HTML already."""
    return _PAGE.format(heading=escape(heading), body=body or f"<p>{escape(text)}</p>")
