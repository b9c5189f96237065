"""Seeds that ever failed, by what was wrong with the vault when they did.

A change of the simulation changes what a seed does, so an older one may show something else today.
"""

from __future__ import annotations

from typing import Final

__all__ = ["KNOWN"]

KNOWN: Final[dict[int, str]] = {
    239: "a login during an exchange, and the old pair in another process",
    627: "close() cancels a request that is just leaving",
    757: "an older successor of a seed is brought to its user",
    941: "close() throws away an answer that is there",
    1969: "a removal remembers a token that was never sent",
    2149: "a loss right after the only holder was closed",
    2405: "a refused pair from a file replaces a newer login",
    2528: "the access token runs out before a lease is taken over",
    2775: "the successor of a seed is not written back after a loss",
    3004: "a token is sent again after the one more try",
    3519: "a login that waited for the store comes back over a removal",
    5296: "a login that took effect is written again",
    6460: "a slow look at the lease is taken for fresh",
    8378: "a removal on its way hides who holds the token",
    8759: "a pair that was removed during its exchange comes back",
    2004565: "what an attempt knew is remembered for too long",
    2006155: "a record's token was exchanged as a seed after a loss",
    2009009: "the access token runs out just when an exchange fails",
    3001673: "the owner's writes stall for longer than its lease",
    1206: "the same token stands under two users, and both exchange it",
    215570: "what is in doubt is forgotten when another process gives the lease back",
    218140: "two leases of dead owners are waited for in turn, for ever",
    227293: "a removal whose answer was lost is carried out again",
    308491: "a removal that close() has cut off is carried out again",
    5000167: "a parked pair comes to its user after its lease",
    5008006: "a token that was replaced during its exchange comes back without its lease",
    5029901: "Twitch is away for longer than a minute after a lost answer",
    5030805: "a pair that the store has lost counts as written",
    5031613: "an owner that stood still does not notice that another has written",
    5050096: "a delete by who knew less makes a process forget what it has spent",
    5054864: "a store that has lost data gets back a pair that was exchanged since",
    408079: "a removal is carried out again over a login that came since",
    608179: "closing ends a write that had not begun, and its caller waits for ever",
    606860: "an access token that somebody outside has killed",
    726683: "a login that only one process knows is dropped after a loss",
    20003368: "a record is merged with the seed that it descends from",
    30069229: "a merged record overtakes the real successor",
    30069842: "a record that is written back overtakes the newest pair",
    30140862: "a memory is lost with an equal generation",
    30147057: "a pair that was never validated is refreshed again and again",
    40015912: "a parked pair is attached over a newer login",
    50016423: "a second loss waits for the repair of the first",
    50032439: "a spent pair comes back with its lease, and is sent",
    60032049: "an owner that has heard of a newer generation sends",
    60062017: "an acceptance from before a suspend counts",
    80187649: "a seed is forgotten when a newer record does not know it",
    90036554: "a second removal meets a login that came since",
    110027774: "a read that began before a delete brings the user back",
    110058100: "a process that finds a loss by itself does not look at seeds",
    120022976: "a pair comes back that the other login has exchanged",
    130093332: "a parked pair is attached over a newer one with the same refresh token",
    130106435: "an old pair that works on is added while another login comes",
    130148945: "a process that has not heard of a removal brings the login back",
    140083349: "a write's answer comes to a vault that was just cleared",
    140051336: "a read from before a loss brings a deleted user back",
    140079350: "a delete whose answer comes after a loss that has undone it",
}
