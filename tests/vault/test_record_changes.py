"""Every way in which a record can change: the fence holds, twice is once, nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from twitchvault import Token, ValidateToken
from twitchvault.vault.changes import (
    EXCHANGED_KEPT,
    exchanged,
    login,
    moved,
    refused,
    released,
    removed,
    settled,
)
from twitchvault.vault.record import Record, TokenPair, decode, encode, fingerprint

from .records import (
    CANARY,
    NOW,
    answers,
    few,
    news,
    pairs,
    parkings,
    records,
    refreshes,
    standing,
    words,
)


@given(standing, refreshes, news)
@few
def test_exchanged(current: Record | None, sent: str, token: Token) -> None:
    """The refresh token is the fence; twice is once; the one that was sent is remembered."""
    after = exchanged(current, sent, token, NOW)
    if current is None or current.refresh_token != sent:
        assert after is current
        return
    assert after is not None
    assert tuple(after.pair) == ("A9", token.refresh_token or sent)
    assert (after.state, after.reason, after.lease, after.seeded) == ("live", "", None, False)
    if token.refresh_token is not None:
        assert after.has_spent(fingerprint(sent))
        assert exchanged(after, sent, token, NOW + 1) is after
    assert decode(encode(after), "1") == after


@given(standing, refreshes, parkings)
@few
def test_moved(current: Record | None, sent: str, parked: Record) -> None:
    """As `exchanged`, for a pair that was parked."""
    after = moved(current, sent, parked, NOW)
    if current is None or current.refresh_token != sent:
        assert after is current
        return
    assert after is not None
    assert after.pair == parked.pair
    assert after.has_spent(fingerprint(sent))
    assert (after.state, after.lease, after.seeded) == ("live", None, False)
    assert moved(after, sent, parked, NOW + 1) is after


@given(standing, refreshes, parkings, answers)
@few
def test_settled(current: Record | None, sent: str, parked: Record, answer: ValidateToken) -> None:
    """A parked pair that comes to its user is remembered by what it cost; twice is once."""
    after = settled(current, sent, parked, answer, NOW)
    assert after.has_spent(fingerprint(sent))
    if current is not None and current.state == "live" and current.has_spent(fingerprint(sent)):
        held = current.refresh_token
        if held in {None, sent, parked.refresh_token}:
            assert after is current
            return
        assert held is not None
        if not parked.has_spent(fingerprint(held)):
            assert after is current
            return
    assert after.pair == parked.pair
    assert (after.state, after.lease, after.seeded) == ("live", None, False)
    assert settled(after, sent, parked, answer, NOW + 1) is after


def _is_older(current: Record | None, pair: TokenPair) -> bool:
    """The refresh token is ours and stayed the same when it was exchanged; the other one is old."""
    return (
        current is not None
        and pair.refresh_token is not None
        and pair.refresh_token == current.refresh_token
        and pair != current.pair
        and current.state == "live"
        and not current.seeded
    )


@given(standing, pairs(), st.none() | answers)
@few
def test_login(current: Record | None, pair: TokenPair, answer: ValidateToken | None) -> None:
    """What was spent does not come back, and nothing that is remembered is forgotten."""
    after = login(current, pair, answer, NOW)
    spent = (
        current is not None
        and pair.refresh_token is not None
        and pair != current.pair
        and current.has_spent(fingerprint(pair.refresh_token))
    )
    if current is not None and pair == (current.access_token, None):
        assert after.pair == current.pair, "its refresh token is not thrown away"
    elif _is_older(current, pair) and answer is None:
        assert after is current
    elif spent:
        assert current is not None
        assert after.refresh_token in {None, current.refresh_token}
    else:
        assert after.pair == pair
    if current is not None:
        for token in ("R0", "R1", "R2"):
            assert not current.has_spent(fingerprint(token)) or after.has_spent(fingerprint(token))
    assert login(after, pair, answer, NOW) == after
    if answer is not None and after.pair == pair:
        assert (after.last_validated, after.login) == (NOW, "alice")


@given(standing, records(), words)
@few
def test_refused(current: Record | None, former: Record, reason: str) -> None:
    """Only the record with that pair is marked; the pair is kept; twice is once."""
    after = refused(current, former, reason)
    if current is None or current.pair != former.pair:
        assert after is current
        return
    assert after is not None
    assert (after.state, after.reason, after.lease) == ("needs_login", reason, None)
    assert after.pair == current.pair
    assert refused(after, former, reason) == after


@given(standing, words)
@few
def test_released(current: Record | None, lease: str) -> None:
    """Only the owner of that very lease gives it back; nothing else changes."""
    after = released(current, lease)
    if current is None or current.lease != lease:
        assert after is current
        return
    assert after == replace(current, lease=None)
    assert released(after, lease) is after


@given(standing)
@few
def test_removed(current: Record | None) -> None:
    """No token is left, what was spent is still known; twice is once."""
    after = removed(current)
    assert removed(after) == after
    if after is None:
        assert current is None or not (current.seeds or current.exchanged)
        return
    assert current is not None
    assert after.shown is None
    assert (after.access_token, after.refresh_token, after.lease) == ("", None, None)
    assert (after.seeds, after.exchanged) == (current.seeds, current.exchanged)
    assert decode(encode(after), "1") == after


@given(records(), refreshes, news, words)
@few
def test_a_loser_does_no_harm(current: Record, sent: str, token: Token, reason: str) -> None:
    """A refusal before or after the owner's write: the owner's new pair stands."""
    current = replace(current, refresh_token=sent, state="live", reason="")
    marked_first = exchanged(refused(current, current, reason), sent, token, NOW)
    marked_last = refused(exchanged(current, sent, token, NOW), current, reason)
    assert marked_first == marked_last
    assert marked_first is not None
    assert (marked_first.state, marked_first.access_token) == ("live", "A9")


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=60))
@few
def test_what_is_remembered(history: list[str]) -> None:
    """The last 16 that the vault got by itself, and each one that came from outside."""
    record: Record | None = Record("A", "R")
    for number, name in enumerate(history):
        assert record is not None
        record = replace(record, refresh_token=name, seeded=number % 2 == 0)
        token = Token(access_token=f"A{number}", refresh_token=f"next{number}")
        record = exchanged(record, name, token, NOW)
    assert record is not None
    own = list(dict.fromkeys(reversed(history[1::2])))
    for name in (*history[::2], *own[:EXCHANGED_KEPT]):
        assert record.has_spent(fingerprint(name))
    assert not record.has_spent(fingerprint("never"))


@given(words, words)
@few
def test_fingerprints(first: str, second: str) -> None:
    """The same for the same token only, and nothing of it shows."""
    assert (fingerprint(first) == fingerprint(second)) == (first == second)
    assert len(fingerprint(first)) == len(fingerprint(second))


def test_reprs_hide_tokens() -> None:
    """No repr of a record or a pair shows a token."""
    record = Record(CANARY, CANARY, login="alice", lease="x")
    for value in (record, record.pair, [record], {"a": record.pair}):
        assert CANARY not in repr(value)
        assert CANARY not in str(value)
