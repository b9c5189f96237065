"""What callers pass in: cleaned where people paste, refused where it cannot be right.

Every error names the argument and the fault, and none quotes a secret.
"""

from __future__ import annotations

import math
import re
from typing import Final

from yarl import URL

from twitchvault.errors import WrongType, WrongValue

_PREFIX: Final = re.compile(r"^(?:oauth:|bearer(?=\s|$))\s*", re.IGNORECASE)
"""What IRC clients and HTTP headers have in front of a token."""
_SYNTAX: Final = re.compile("[\"':]")
_LONGEST: Final = 10**6
"""Seconds: more than anybody waits, and few enough for a clock and for a record."""


def token(name: str, value: object) -> str:
    """A token without surrounding white space and a leading `oauth:` or `Bearer `: see `word`.

    `ValueError` also for a quotation mark or a colon, which come from a file's syntax.
    """
    text = word(name, _PREFIX.sub("", value.strip()) if isinstance(value, str) else value)
    if found := _SYNTAX.search(text):
        raise WrongValue(f"{name!r} must be a token alone; this one holds {found.group()!r}")
    return text


def optional_token(name: str, value: object) -> str | None:
    """As `token`; None and a blank text are None."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return token(name, value)


def word(name: str, value: object) -> str:
    """A token, a secret, a code or a client id, without surrounding white space.

    `ValueError` if it is no str, is empty, or holds white space, a control character or a lone
    surrogate: nothing that Twitch hands out does.
    """
    if not isinstance(value, str):
        raise WrongValue(f"{name!r} must be a str, not {type(value).__name__}")
    text = value.strip()
    fault = _fault(text)
    if fault:
        raise WrongValue(f"{name!r} must be one word; this one {fault}")
    return text


def _fault(text: str) -> str:
    if not text:
        return "is empty"
    if any(map(str.isspace, text)):
        return "has white space in it"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "holds a lone surrogate, which UTF-8 cannot encode"
    return "" if text.isprintable() else "holds a control or invisible character"


def client_id(value: object) -> str:
    """A client id without surrounding white space; the vault's keys need it without a colon."""
    text = word("client_id", value)
    if ":" in text:
        # The text is not shown: people paste "id:secret".
        raise WrongValue("'client_id' must be the id from Twitch's developer console, without ':'")
    return text


def client_secret(value: object) -> str | None:
    """A client secret, or None for a public client."""
    if value == "":
        msg = "'client_secret' is empty: leave it out, or pass None, for a public client"
        raise WrongValue(msg)
    return None if value is None else word("client_secret", value)


def user_id(value: object) -> str:
    """A user id without surrounding white space; `TypeError` if it is no non-empty str."""
    if not isinstance(value, str) or not value.strip():
        what = "an empty one" if isinstance(value, str) else type(value).__name__
        raise WrongType(f"'user_id' must be a non-empty str, not {what}")
    return value.strip()


def base_url(name: str, value: object) -> str:
    """A service's base URL without the slash at its end."""
    try:
        url = URL(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        url = URL()
    extras = (url.raw_user, url.raw_password, url.raw_query_string, url.raw_fragment)
    if url.scheme not in {"http", "https"} or not url.host or any(extras):
        msg = f"{name!r} must be an http or https URL without user, password, query and fragment"
        raise WrongValue(msg)
    return str(url).rstrip("/")


def seconds(name: str, value: object, *, least: float | None = None) -> float:
    """A finite number of seconds, `least` or more; above 0 if that is None."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool) and value < math.inf:
        number = min(value, _LONGEST)
    if not (number > 0 if least is None else number >= least):
        bound = "above 0" if least is None else f"{least:g} or more"
        raise WrongValue(f"{name!r} must be a number of seconds {bound}, not {value!r}")
    return float(number)
