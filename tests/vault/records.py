"""Records and what happens to them, as hypothesis draws them: few tokens, that often meet."""

from __future__ import annotations

import string

from hypothesis import settings
from hypothesis import strategies as st

from twitchvault import Token, ValidateToken
from twitchvault.vault.record import Record, TokenPair, fingerprint

NOW = 1_790_000_000.5
CANARY = "canary5ecret"
few = settings(max_examples=30, deadline=None)

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
