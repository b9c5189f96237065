"""Opening a token comes to what `Fernet.decrypt` comes to."""

from __future__ import annotations

import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hmac import digest

import pytest
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from twitchvault.stores.fernet.opener import Opener, unpacked

from .makers import KEY, NEW

BINARY = urlsafe_b64decode(KEY)
FERNET = Fernet(KEY)
OPENER = Opener(BINARY)
"""One for all tests: what it has opened before must not matter."""

SPECIFIED_KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
SPECIFIED = (
    b"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU"
    b"4IwqDA=="
)


def ours(token: bytes) -> bytes | None:
    """What our opener finds in a token."""
    data = unpacked(token)
    return None if data is None else OPENER.open(data)


def theirs(token: bytes) -> bytes | None:
    """What `Fernet` finds in it."""
    try:
        return FERNET.decrypt(token)
    except InvalidToken:
        return None


def signed(body: bytes) -> bytes:
    """A token of our key around anything."""
    return urlsafe_b64encode(body + digest(BINARY[:16], body, "sha256"))


@pytest.mark.parametrize("size", [*range(67), 1000, 1_000_000])
def test_opens_what_fernet_made(size: int) -> None:
    """Every size comes back as it was, whatever was opened or refused before."""
    dice = random.Random(size)
    value = dice.randbytes(size)
    assert ours(FERNET.encrypt(value)) == value
    assert ours(Fernet(NEW).encrypt(value)) is None
    assert ours(FERNET.encrypt(value)) == value


def test_specified_token() -> None:
    """The token of the specification's own `verify.json`."""
    data = unpacked(SPECIFIED)
    assert data
    assert Opener(urlsafe_b64decode(SPECIFIED_KEY)).open(data) == b"hello"


def test_every_flipped_bit_of_the_binary() -> None:
    """Nothing that was changed opens."""
    good = urlsafe_b64decode(FERNET.encrypt(b"value"))
    for bit in range(len(good) * 8):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        token = urlsafe_b64encode(changed)
        assert ours(token) is None
        assert theirs(token) is None


def test_what_it_opens_fernet_opens() -> None:
    """Tokens changed at random: what opens here opens there, to the same."""
    dice = random.Random(7)
    good = FERNET.encrypt(b"value")
    opened = 0
    for _ in range(10_000):
        token = bytearray(good)
        for _ in range(dice.randrange(3)):
            place, byte = dice.randrange(len(token)), dice.randrange(256)
            token[place : place + dice.randrange(2)] = bytes([byte])[: dice.randrange(2)]
        found = ours(bytes(token))
        if found is not None:
            opened += 1
            assert theirs(bytes(token)) == found == b"value"
    assert opened > 1_000


@pytest.mark.parametrize(
    "padded",
    [
        bytes(16),
        bytes(15) + b"\x01",
        bytes(14) + b"\x01\x02",
        bytes(15) + b"\x11",
        bytes(15) + b"\xff",
        b"\x0f" * 16,
        b"\x10" * 16,
        b"\x10" * 32,
        b"\x20" * 32,
    ],
)
def test_padding(padded: bytes) -> None:
    """A padding is taken for one, or not, as Fernet takes it, also under a right signature."""
    encryptor = Cipher(AES(BINARY[16:]), CBC(bytes(16))).encryptor()
    token = signed(b"\x80" + bytes(24) + encryptor.update(padded) + encryptor.finalize())
    assert ours(token) == theirs(token)


@pytest.mark.parametrize("blocks", [b"", b"short", bytes(15), bytes(17)])
def test_bodies_that_are_no_ciphertext(blocks: bytes) -> None:
    """No blocks, or no whole ones, do not open, also under a right signature."""
    token = signed(b"\x80" + bytes(24) + blocks)
    assert ours(token) is theirs(token) is None


@pytest.mark.parametrize("version", [b"\x00", b"\x81", b"\x7f"])
def test_versions(version: bytes) -> None:
    """A version to come does not open, also under a right signature."""
    token = signed(version + urlsafe_b64decode(FERNET.encrypt(b"value"))[1:-32])
    assert ours(token) is theirs(token) is None


@pytest.mark.parametrize("token", [b"", b"=", b"g", b"gA==", b"gAAAAAA", b"\xff" * 120, b"{}"])
def test_no_tokens(token: bytes) -> None:
    """What is no token at all does not open, and is no error."""
    assert ours(token) is theirs(token) is None
