"""The vault: the only place where a token changes.

record       what is kept for one user
transitions  every way in which a record can change (pure functions)
losses       what stands when a store has lost data (pure functions)
repository   records in a store
mirror       the in-process picture of the store, behind the views
watcher      keeps the mirror up with the store
outbox       changes of this process on their way into the store
refresh      who may exchange a refresh token: exactly one, in all processes
exchange     what the owner of a lease does
jobs         tasks that several callers wait for
backoff      when this process must not ask Twitch
logins       pairs that come from outside: new users, old seeds
upkeep       hourly validation and early refresh, in the background
events       what happened, for whoever follows it
context      what these parts share
clocks       the one place where the vault reads the time
vault        all of it together
"""
