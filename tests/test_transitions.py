"""Records of confidential clients, whose refresh token may stay the same when it is exchanged."""

from __future__ import annotations

from twitchvault.models import Token
from twitchvault.vault.parked import attached
from twitchvault.vault.record import Record, TokenPair
from twitchvault.vault.transitions import exchanged, logged_in, refused, removed

SEED = Record("a1", "r")
ANSWER = Token.from_answer(
    {"access_token": "a2", "refresh_token": "r", "expires_in": 14000, "token_type": "bearer"}
)


def test_a_parked_pair_is_attached_once() -> None:
    """Who attaches it again changes nothing, so that no dead token counts as a newer one."""
    parked = Record("a2", "r", generation=2, seeded=False)
    record = attached(SEED, {"r": parked}, None, 1.0)
    assert record.pair == ("a2", "r")
    assert attached(record, {"r": parked}, None, 2.0) == record


def test_a_token_that_works_is_not_spent() -> None:
    """A refusal that an exchange contradicts is forgotten: the same pair can be brought again."""
    record = exchanged(refused(SEED, SEED, "refused"), SEED, ANSWER, 1.0)
    assert record is not None
    again = logged_in(removed(record), TokenPair("a3", "r"), None, 2.0)
    assert again.pair == ("a3", "r")
