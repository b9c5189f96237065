"""The vault: the only place where a token changes.

record    what is kept for one user, and every way in which it can change (pure functions)
ledger    records in a store
mirror    the in-process picture of the store, behind the views
pump      keeps the mirror up with the store
outbox    changes of this process on their way into the store
refresh   exactly one exchange of each refresh token, in all processes
logins    pairs that come from outside: new users, old seeds
upkeep    hourly validation and early refresh, in the background
events    what happened, for whoever follows it
vault     all of it together
"""
