"""Records: what is stored, what is read back, and every way in which one can change."""

from __future__ import annotations

import json
import string
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twitchvault import CorruptRecord, Token, ValidateToken
from twitchvault.vault.record import (
    EXCHANGED_KEPT,
    Record,
    TokenPair,
    decode,
    encode,
    exchanged,
    fingerprint,
    login,
    moved,
    refused,
    released,
    removed,
    settled,
)

NOW = 1_790_000_000.5
CANARY = "canary5ecret"
few = settings(max_examples=50, deadline=None)

words = st.text(
    string.ascii_letters + string.digits + 'é☃\U0001f511 %/="\\', min_size=1, max_size=12
)
tokens = st.sampled_from(["A0", "A1", "A2"])
refreshes = st.sampled_from(["R0", "R1", "R2"])
seconds = st.floats(0, 1e10)


@st.composite
def pairs(draw: st.DrawFn) -> TokenPair:
    """A pair of few possible ones, so that two often meet."""
    return TokenPair(draw(tokens), draw(st.none() | refreshes))


@st.composite
def memories(draw: st.DrawFn) -> str:
    """Fingerprints of some of the tokens."""
    return "".join(fingerprint(token) for token in draw(st.lists(refreshes, unique=True)))


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any record that can stand in the store."""
    if draw(st.integers(0, 9)) == 0:
        return Record(
            "", state="removed", seeds=draw(memories()) or fingerprint("R0"), exchanged=""
        )
    pair = draw(pairs())
    state = draw(st.sampled_from(["live", "needs_login"]))
    return Record(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        scopes=draw(st.none() | st.lists(words, max_size=3).map(tuple)),
        login=draw(st.none() | words),
        last_validated=draw(st.none() | seconds),
        expires_in=draw(seconds),
        state=state,  # type: ignore[arg-type]
        reason=draw(words) if state == "needs_login" else "",
        lease=draw(st.none() | words),
        seeded=draw(st.booleans()),
        seeds=draw(memories()),
        exchanged=draw(memories()),
    )


standing = st.none() | records()
answers = st.builds(
    lambda scopes, left: ValidateToken(
        client_id="c", login="alice", user_id="1", scopes=tuple(scopes), expires_in=left
    ),
    st.lists(words, max_size=3),
    st.integers(0, 20_000),
)
news = st.builds(
    lambda refresh, scopes, left: Token(
        access_token="A9", refresh_token=refresh, scopes=tuple(scopes), expires_in=left
    ),
    st.none() | st.just("R9"),
    st.lists(words, max_size=3),
    st.integers(0, 20_000),
)
parkings = st.builds(
    lambda left: Record("A9", "R9", expires_in=left, seeded=False, seeds=fingerprint("R0")), seconds
)


# What is stored


def test_the_stored_form() -> None:
    """The bytes, literally: a change of them is a change of the format and of its number."""
    record = Record(
        access_token="cfabdegwdoklmawdzdo98xt2fo512y",
        refresh_token="eyJfMzUtNDU0OC4MWYwLTQ5MDY5ODY4NGNlMSJ9%asdfasdf=",
        scopes=("chat:read", "user:read:email"),
        login="zoë",
        last_validated=1_790_000_000.25,
        expires_in=14_146.0,
        lease="0a1b2c3d-0011223344556677",
        seeded=False,
        seeds=fingerprint("R0"),
        exchanged=fingerprint("R1") + fingerprint("R2"),
    )
    assert encode(record) == (
        b'{"schema":1,"access_token":"cfabdegwdoklmawdzdo98xt2fo512y",'
        b'"refresh_token":"eyJfMzUtNDU0OC4MWYwLTQ5MDY5ODY4NGNlMSJ9%asdfasdf=",'
        b'"scopes":["chat:read","user:read:email"],"login":"zo\\u00eb",'
        b'"last_validated":1790000000.25,"expires_in":14146.0,'
        b'"lease":"0a1b2c3d-0011223344556677","seeded":false,'
        b'"seeds":"RDnkSGK4XMbU","exchanged":"p5E2b29iASVO1lOwFtsdqPWz"}'
    )
    assert decode(encode(record), "1") == record


def test_the_smallest_stored_form() -> None:
    """A pair that nothing is known of; a record that needs a login; one that was removed."""
    assert encode(Record("A0")) == b'{"schema":1,"access_token":"A0"}'
    marked = refused(Record("A0", "R0"), Record("A0", "R0"), "Twitch said no")
    assert marked is not None
    assert encode(marked) == (
        b'{"schema":1,"access_token":"A0","refresh_token":"R0","state":"needs_login",'
        b'"reason":"Twitch said no"}'
    )
    gone = removed(Record("A0", "R0", seeds=fingerprint("R1")))
    assert gone is not None
    assert encode(gone).startswith(b'{"schema":1,"access_token":"","state":"removed","seeds":"')


@given(records())
@few
def test_round_trip(record: Record) -> None:
    """What is written is read back, and written again it is the same."""
    assert decode(encode(record), "1") == record
    assert encode(decode(encode(record), "1")) == encode(record)


def read(value: bytes) -> Record | None:
    """The record in these bytes; None if they are damaged, and then nothing of them is told."""
    try:
        return decode(value, "1")
    except CorruptRecord as caught:
        error = caught
    assert "'1'" in str(error)
    assert CANARY not in repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return None


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A stored record with some bytes changed, cut out, put in, or cut off."""
    record = replace(draw(records()), access_token=CANARY, refresh_token=CANARY)
    value = bytearray(encode(record))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(value) - 1)))
        length = draw(st.integers(0, 6))
        extra = draw(st.binary(max_size=4) | st.sampled_from([b'"', b",", b"null", b"NaN", b"[[["]))
        value[at : at + length] = extra
    return bytes(value)


@given(mutations())
@settings(max_examples=150, deadline=None)
def test_mutated_bytes(value: bytes) -> None:
    """Damaged bytes are CorruptRecord, or a record that can be written and read like any other."""
    record = read(value)
    if record is not None:
        assert decode(encode(record), "1") == record


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=80) | anything.map(lambda value: json.dumps(value).encode()))
@few
def test_any_bytes(value: bytes) -> None:
    """Whatever stands there: CorruptRecord or a record, never another error."""
    read(value)
    read(b'{"schema":1,' + value)
    read(b'{"schema":1,"access_token":"A0",' + value + b"}")


NAMES = [field.name for field in fields(Record)]
WRONG: list[object] = [
    None,
    "",
    CANARY,
    -1,
    10**400,
    1.5,
    [CANARY],
    {CANARY: CANARY},
    [[CANARY]],
    True,
]


@pytest.mark.parametrize("name", [*NAMES, CANARY])
@pytest.mark.parametrize("value", WRONG)
def test_wrong_values(name: str, value: object) -> None:
    """A field with a value of the wrong kind, and an unknown field: CorruptRecord or harmless."""
    known = {"access_token": "A0", "refresh_token": "R0"}
    record = read(b'{"schema":1,' + json.dumps(known | {name: value}).encode()[1:])
    if record is not None:
        assert decode(encode(record), "1") == record
        assert name != CANARY


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 100_000,
        b'{"schema":1,"access_token":' + b"[" * 100_000,
        b'{"schema":99999999999999999999999999,"x":' + b"[" * 100_000,
        b'{"schema":1,"access_token":"A0","access_token":7}',
        b'{"schema": 1,"access_token":"A0"}',
        b'{"access_token":"A0","schema":1}',
        b'{"schema":true,"access_token":"A0"}',
        b'{"schema":0,"access_token":"A0"}',
        b'{"schema":"2","access_token":"A0"}',
        b'{"schema":1,"access_token":"\\ud800"}',
        b'{"schema":1}',
        b"\x00" * 40,
        b"\xff\xfe{",
    ],
    ids=range(13),
)
def test_odd_bytes(value: bytes) -> None:
    """Deep nesting, doubled fields, other spellings, no UTF-8: damaged, and nothing worse."""
    assert read(value) is None


# How it changes


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
