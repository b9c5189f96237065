"""What is stored of a record, and what is read back, whatever happened to the bytes."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twitchvault import CorruptRecord
from twitchvault.vault.changes import refused, removed
from twitchvault.vault.record import Decoder, Record, decode, encode, fingerprint

from .records import CANARY, few, records, words


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


def test_a_decoder_never_mixes_records_up() -> None:
    """Other bytes are another record, be they of the same user; damaged ones change nothing."""
    read = Decoder()
    first, second = encode(Record("A0", "R0")), encode(Record("A1", "R1"))
    before = read(first, "1")
    assert before == Record("A0", "R0")
    assert read(first, "1") is before
    assert read(second, "1") == Record("A1", "R1")
    with pytest.raises(CorruptRecord, match="'2'"):
        read(first[:-1], "2")
    assert read(second, "1") == Record("A1", "R1")
    assert read(first, "1") == before
    read.forget()
    assert read(first, "1") == before


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
@settings(max_examples=100, deadline=None)
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
