"""Every way in which a record can change.

These functions are pure: from the record that stands (or None) and what has happened they make the
record that should stand. Returning the very record that was passed in means "nothing to write",
returning None means "delete it".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec.structs import replace

from twitchvault.vault.record import (
    FINGERPRINT_LENGTH,
    NO_TTL,
    Record,
    TokenPair,
    fingerprint,
    split_fingerprints,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from twitchvault.models import Token, ValidateToken

    Transition: TypeAlias = Callable[[Record | None], Record | None]

MAX_SEEDS: Final = 1000
MAX_EXCHANGED: Final = 16


def logged_in(
    current: Record | None, pair: TokenPair, answer: ValidateToken | None, now: float
) -> Record:
    """A pair came from outside, with Twitch's validation of its access token if it was asked.

    A new pair replaces the record. One whose refresh token was exchanged before is old news: the
    record stands, unless it needs a login and the access token was seen to work. One that was
    replaced before comes back only if its access token works, or the record needs a login. An
    access token alone replaces no pair that the vault has renewed, unless it has more scopes.
    """
    fresh = Record(access_token=pair.access_token, refresh_token=pair.refresh_token)
    if answer is not None:
        fresh = confirmed(fresh, answer, now)
    if current is None:
        return fresh
    if pair.refresh_token is None and _is_better_without(current, fresh):
        return current
    same = pair.refresh_token in {None, current.refresh_token}
    if same and pair.access_token == current.access_token:
        return current if answer is None else confirmed(current, answer, now)
    if same and pair.refresh_token is not None:
        return _other_access_token(current, fresh, answer)
    return _other_pair(current, fresh, answer)


def _is_better_without(current: Record, fresh: Record) -> bool:
    """Whether the vault has renewed what stands, and an access token alone adds nothing."""
    if current.state != "live" or current.refresh_token is None:
        return False
    renewed = current.seeds or current.exchanged  # else it is also where it came from
    wider = fresh.scopes is not None and not set(fresh.scopes) <= set(current.scopes or ())
    return bool(renewed) and not wider and fresh.access_token != current.access_token


def _other_pair(current: Record, fresh: Record, answer: ValidateToken | None) -> Record:
    mark = fingerprint(fresh.refresh_token or "")
    if current.has_spent(mark):
        if answer is None or current.state != "needs_login":
            return current
        # Its access token lives, but its refresh token must not be sent once more.
        fresh = replace(fresh, refresh_token=None)
    elif current.outlived(mark) and answer is None and current.state != "needs_login":
        return current
    return _successor(current, fresh)


def _other_access_token(current: Record, fresh: Record, answer: ValidateToken | None) -> Record:
    """The refresh token that stands, with another access token.

    The other one is older unless it was just confirmed, or the first pair stands: a confidential
    client's refresh token may stay the same when it is exchanged.
    """
    if answer is None and (current.state, current.seeded, current.generation) != ("live", True, 1):
        return current
    new = _successor(current, fresh)
    new = replace(new, seeded=current.seeded, restored=current.restored)
    if new.foreign != current.foreign:
        return new  # it was taken for somebody else's, and has not been refused
    return replace(new, state=current.state, reason=current.reason)  # what was refused stays so


def _successor(current: Record, fresh: Record) -> Record:
    """`fresh` as the next record of the same user: it inherits what must not be forgotten.

    Scopes and login are those of the last validation, until the next one. The refresh token that is
    replaced is given up: it may be on its way to Twitch, or come again from a file.
    """
    given_up, lease, ttl = current.given_up, current.lease, current.lease_ttl
    former = replaced_lease = current.replaced_lease
    if current.refresh_token != fresh.refresh_token:
        if current.refresh_token is not None:
            mark = fingerprint(current.refresh_token)
            if mark not in current.foreign:
                given_up = _append(given_up, mark, MAX_SEEDS)
            if lease is not None:
                replaced_lease = (mark, lease, ttl)
        lease, ttl = None, NO_TTL
        if former and former[0] == fingerprint(fresh.refresh_token or ""):
            _, lease, ttl = former
            replaced_lease = None if replaced_lease is former else replaced_lease
    return replace(
        fresh,
        lease=lease,
        lease_ttl=ttl,
        replaced_lease=replaced_lease,
        scopes=current.scopes if fresh.scopes is None else fresh.scopes,
        login=current.login if fresh.login is None else fresh.login,
        generation=current.generation + 1,
        seeds=current.seeds,
        exchanged=current.exchanged,
        given_up=given_up,
        foreign=without(current.foreign, fingerprint(fresh.refresh_token or "")),
        extra=current.extra,
    )


def confirmed(current: Record, answer: ValidateToken, now: float) -> Record:
    """Twitch has said whose access token it is, and for how long it lives."""
    return replace(
        current,
        login=answer.login or current.login,
        scopes=answer.scopes,
        last_validated=now,
        expires_in=float(answer.expires_in),
        access_refused=False,
    )


def validated(
    current: Record | None,
    access_token: str,
    answer: ValidateToken,
    owner: tuple[str, str],
    now: float,
) -> Record | None:
    """Twitch confirmed an access token. `owner` is (client id, user id) that it must belong to.

    A token of somebody else's is not used any more: it would act in the wrong name.
    """
    if current is None or current.access_token != access_token:
        return current
    client_id, user_id = owner
    if answer.client_id != client_id:
        return _foreign(current, "the token belongs to another client id")
    found = answer.user_id or client_id
    if found != user_id:
        whose = f"user {found!r}" if answer.user_id else "the application"
        return _foreign(current, f"the token belongs to {whose}, not to user {user_id!r}")
    return confirmed(current, answer, now)


def _foreign(current: Record, reason: str) -> Record:
    foreign = current.foreign
    if not current.seeded:
        foreign = _append(foreign, current.seeds[-FINGERPRINT_LENGTH:], MAX_SEEDS)
    if current.refresh_token is not None:
        foreign = _append(foreign, fingerprint(current.refresh_token), MAX_SEEDS)
    marked = replace(_free(current), foreign=foreign)
    return replace(marked, state="needs_login", reason=reason, access_refused=True)


def leased(current: Record, name: str, ttl: float) -> Record:
    """Somebody takes the right to exchange the refresh token."""
    return replace(current, lease=name, lease_ttl=ttl)


def _free(current: Record) -> Record:
    return replace(current, lease=None, lease_ttl=NO_TTL)


def released(current: Record | None, name: str) -> Record | None:
    """The owner of the lease `name` gives it back without having changed anything."""
    if current is None:
        return None
    if current.replaced_lease is not None and current.replaced_lease[1] == name:
        return replace(current, replaced_lease=None)
    return _free(current) if current.lease == name else current


def exchanged(current: Record | None, base: Record, token: Token, now: float) -> Record | None:
    """The refresh token of `base` was exchanged for `token`; the refresh token is the fence.

    If the user was removed or the record holds another login by now, that decision stands. The
    spent token is remembered all the same: it would cut a later login.
    """
    sent = base.refresh_token or ""
    successor = token.refresh_token or sent
    current = _found_again(current, base)
    bare = current.refresh_token is None and current.state != "removed"
    next_one = current.generation == base.generation + 1
    if bare and next_one and current.has_spent(fingerprint(sent)):
        # The pair was taken for spent, and an older access token of its login has come back.
        current = replace(current, refresh_token=sent)
    if current.refresh_token != sent:
        return current if successor == sent else _remember_elsewhere(current, base, sent)
    return renewed(current, token, now)


def _found_again(current: Record | None, base: Record) -> Record:
    """`current`, or `base` if the store has lost that.

    It has if there is nothing, since the removal of a leased record leaves an entry, or if a token
    stands that `base` has spent.
    """
    if current is None:
        return base
    mark = fingerprint(current.refresh_token or "")
    if not base.has_spent(mark) or current.has_spent(mark):
        return current
    return replace(base, generation=max(base.generation, current.generation))


def renewed(current: Record, new: Token | Record, now: float) -> Record:
    """The next generation of `current`, live, whose refresh token was exchanged for `new`."""
    sent = current.refresh_token or ""
    successor = new.refresh_token or sent
    if successor != sent:
        current = remember(current, sent, seeded=current.seeded)
    else:
        current = _unspent(current, sent)
    return replace(
        _free(current),
        access_token=new.access_token,
        refresh_token=successor,
        scopes=new.scopes or current.scopes,
        expires_in=float(new.expires_in),
        generation=current.generation + 1,
        last_validated=None if current.last_validated is None else now,
        state="live",
        reason="",
        access_refused=False,
        seeded=False,
        restored=0,
    )


def _remember_elsewhere(current: Record | None, base: Record, token: str) -> Record:
    """The record is gone or holds another login, which remembers the spent token of `base`."""
    if current is None:
        current = Record("", state="removed", generation=base.generation + 1)
    if current.replaced_lease is not None and current.replaced_lease[0] == fingerprint(token):
        current = replace(current, replaced_lease=None)
    return remember(current, token, seeded=base.seeded)


def remember(current: Record, token: str, *, seeded: bool) -> Record:
    """A refresh token was exchanged: it is not sent again."""
    mark = fingerprint(token)
    if seeded:
        return replace(current, seeds=_append(current.seeds, mark, MAX_SEEDS))
    return replace(current, exchanged=_append(current.exchanged, mark, MAX_EXCHANGED))


def _unspent(current: Record, token: str) -> Record:
    """`current` without a mark on a token that was refused and works all the same."""
    mark = fingerprint(token)
    if not current.has_spent(mark):
        return current
    seeds, exchanged = without(current.seeds, mark), without(current.exchanged, mark)
    return replace(current, seeds=seeds, exchanged=exchanged)


def _append(memory: str, mark: str, limit: int) -> str:
    if memory.endswith(mark):
        return memory
    return (without(memory, mark) + mark)[-limit * FINGERPRINT_LENGTH :]


def without(memory: str, mark: str) -> str:
    """A memory of fingerprints without this one."""
    if mark not in memory:
        return memory
    return "".join(other for other in split_fingerprints(memory) if other != mark)


def refused(current: Record | None, base: Record, reason: str) -> Record | None:
    """Twitch refused the pair of `base`, or has spent it; it is remembered. A newer pair wins."""
    sent = base.refresh_token
    current = current and _found_again(current, base)
    if current is None or current.refresh_token != sent:
        return current if sent is None else _remember_elsewhere(current, base, sent)
    is_its = current.generation == base.generation or current.lease == base.lease is not None
    if not is_its or current.state != "live":
        return current
    if sent is not None:
        current = remember(current, sent, seeded=current.seeded)
    return replace(_free(current), state="needs_login", reason=reason)


def marked_access_refused(current: Record | None, access_token: str) -> Record | None:
    """Twitch refused the access token of a record that needs a login: nobody needs to ask again."""
    if current is None or current.access_token != access_token or current.state != "needs_login":
        return current
    return replace(current, access_refused=True)


def removed(current: Record | None) -> Record | None:
    """The user is taken out of the vault.

    What was spent is remembered: an old configuration file may bring it back, and a process that
    has not heard of the removal must not undo it. A pair that was never exchanged leaves nothing.
    """
    if current is None or current.state == "removed":
        return current
    gone = replace(_successor(current, Record("", state="removed")), scopes=None, login=None)
    leaves_trace = current.generation > 1 or current.lease or gone.seeds or gone.exchanged
    return gone if leaves_trace or current.given_up else None


def removed_login(current: Record | None, base: Record | None) -> Record | None:
    """The login of `base` is taken out of the vault; another one that came since stays."""
    if current is None or base is None:
        return removed(current)
    exchanged = not current.seeded and current.has_spent(fingerprint(base.refresh_token or ""))
    same = current.refresh_token is not None and current.refresh_token == base.refresh_token
    if exchanged or same or current.access_token == base.access_token:
        return removed(current)
    return current
