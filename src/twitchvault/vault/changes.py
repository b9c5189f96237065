"""Every way in which a record can change.

A record changes only through the functions below. They are pure: from the record that stands (or
None) and what has happened they make the record that should stand. Returning the very record that
was passed in means "nothing to write".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from twitchvault.vault.record import Record, TokenPair, fingerprint, marks

if TYPE_CHECKING:
    from twitchvault.models import ClientCredentials, Token, ValidateToken

__all__ = [
    "app_record",
    "exchanged",
    "login",
    "mourned",
    "moved",
    "refused",
    "released",
    "removed",
    "removed_with",
    "restored",
    "settled",
    "validated",
]

SEEDS_KEPT: Final = 1000
EXCHANGED_KEPT: Final = 16


def login(
    current: Record | None, pair: TokenPair, answer: ValidateToken | None, now: float
) -> Record:
    """A pair came from outside, with Twitch's validation of its access token if it was asked.

    A new pair replaces the record. One whose refresh token was exchanged before is old news: the
    record stands, unless it needs a login and the access token was seen to work.
    """
    fresh = Record(access_token=pair.access_token, refresh_token=pair.refresh_token)
    if answer is not None:
        fresh = validated(fresh, answer, now)
    if current is None:
        return fresh
    if pair.refresh_token is None and pair.access_token == current.access_token:
        pair = current.pair
    if pair == current.pair:
        return current if answer is None else validated(current, answer, now)
    if pair.refresh_token is not None and pair.refresh_token == current.refresh_token:
        return _same_refresh_token(current, fresh, answer)
    old_news = pair.refresh_token is not None and current.has_spent(fingerprint(pair.refresh_token))
    if old_news and (current.state == "live" or answer is None):
        return current
    if old_news:
        # Its access token lives, but its refresh token must not be sent once more.
        fresh = replace(fresh, refresh_token=None)
    return replace(fresh, seeds=current.seeds, exchanged=current.exchanged)


def _same_refresh_token(current: Record, fresh: Record, answer: ValidateToken | None) -> Record:
    """A pair with another access token: older than ours, unless Twitch has just confirmed it.

    A confidential client's refresh token may stay the same when it is exchanged.
    """
    if answer is None and current.state == "live" and not current.seeded:
        return current
    return replace(fresh, seeded=current.seeded, seeds=current.seeds, exchanged=current.exchanged)


def validated(current: Record, answer: ValidateToken, now: float) -> Record:
    """Twitch confirmed the record's access token."""
    return replace(
        current,
        login=answer.login or current.login,
        scopes=answer.scopes,
        last_validated=now,
        expires_in=float(answer.expires_in),
        dead=False,
    )


def exchanged(current: Record | None, sent: str, token: Token, now: float) -> Record | None:
    """The refresh token `sent` was exchanged for `token`: the refresh token is the fence.

    If the record is gone or holds another login by now, that decision stands.
    """
    if current is None or current.refresh_token != sent:
        return current
    successor = token.refresh_token or sent
    return replace(
        _spent(current, sent, successor, now),
        access_token=token.access_token,
        refresh_token=successor,
        scopes=token.scopes or current.scopes,
        expires_in=float(token.expires_in),
    )


def moved(current: Record | None, sent: str, parked: Record, now: float) -> Record | None:
    """Like `exchanged`, for a pair that was exchanged before its user was known."""
    if current is None or current.refresh_token != sent:
        return current
    return replace(
        _spent(current, sent, parked.refresh_token, now),
        access_token=parked.access_token,
        refresh_token=parked.refresh_token,
        scopes=parked.scopes or current.scopes,
        expires_in=parked.expires_in,
    )


def settled(
    current: Record | None, sent: str, parked: Record, answer: ValidateToken, now: float
) -> Record:
    """A parked pair, validated, comes to its user: like `login`, and `sent` is remembered."""
    if current is not None and current.state == "live" and current.has_spent(fingerprint(sent)):
        held = current.refresh_token
        ours = held is None or held in {sent, parked.refresh_token}
        if ours or not parked.has_spent(fingerprint(held or "")):
            return current
        # What the user has was moved in by somebody slow, and renewed meanwhile where it lay.
        current = replace(current, exchanged=current.exchanged + parked.exchanged)
    pair = TokenPair(parked.access_token, parked.refresh_token)
    fresh = replace(login(current, pair, answer, now), seeded=True)
    return _spent(fresh, sent, parked.refresh_token, now)


def _spent(current: Record, sent: str, successor: str | None, now: float) -> Record:
    """`current`, live again, with `sent` in its memory, unless it is its own successor."""
    mark = fingerprint(sent)
    seeds, own = current.seeds, current.exchanged
    if sent == successor:
        pass
    elif current.seeded:
        seeds = _remember(seeds, mark, SEEDS_KEPT)
    else:
        own = _remember(own, mark, EXCHANGED_KEPT)
    return replace(
        current,
        last_validated=None if current.last_validated is None else now,
        state="live",
        reason="",
        dead=False,
        lease=None,
        seeded=False,
        seeds=seeds,
        exchanged=own,
    )


def refused(current: Record | None, former: Record, reason: str) -> Record | None:
    """Twitch refused to renew the pair of `former`; another pair wins."""
    if current is None or current.pair != former.pair:
        return current
    return replace(current, state="needs_login", reason=reason, lease=None)


def mourned(current: Record | None, access_token: str) -> Record | None:
    """Twitch refused the access token of a record that needs a login: nothing is left to ask."""
    if current is None or current.access_token != access_token or current.state != "needs_login":
        return current
    return replace(current, dead=True)


def restored(current: Record | None, ours: Record) -> Record:
    """The store has lost data, and this is what we still hold; what is newer wins."""
    if current is None:
        return replace(ours, lease=None)
    theirs = current.refresh_token
    if theirs is not None and ours.has_spent(fingerprint(theirs)):
        return replace(ours, lease=None)
    return current


def removed(current: Record | None) -> Record | None:
    """The user is taken out of the vault.

    Fingerprints of spent tokens stay behind, if there are any: an old configuration file may bring
    such a token back, and sending it would cut the connection of a login made since.
    """
    if current is None or not (current.seeds or current.exchanged):
        return None
    return Record("", state="removed", seeds=current.seeds, exchanged=current.exchanged)


def removed_with(current: Record | None, former: Record) -> Record | None:
    """The login of `former` is taken out of the vault; another one that came since stays."""
    if current is None:
        return None
    sent = former.refresh_token
    same = current.access_token == former.access_token
    if same or (sent is not None and current.has_spent(fingerprint(sent))):
        return removed(current)
    return current


def released(current: Record | None, lease: str) -> Record | None:
    """The owner of `lease` gives it back without having changed anything."""
    if current is None or current.lease != lease:
        return current
    return replace(current, lease=None)


def app_record(answer: ClientCredentials, now: float) -> Record:
    """An app access token; it counts as validated when issued."""
    return Record(
        access_token=answer.access_token,
        last_validated=now,
        expires_in=float(answer.expires_in),
        seeded=False,
    )


def _remember(memory: str, mark: str, kept: int) -> str:
    others = [other for other in marks(memory) if other != mark]
    return "".join([*others, mark][-kept:])
