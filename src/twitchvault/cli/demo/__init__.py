"""The demo: two users sign in, then four processes share their tokens while these expire.

| module | subject |
| --- | --- |
| `__main__` | the command line |
| `play` | the whole of it, from the first line to the verdict |
| `place` | where the tokens lie, by the kind of store |
| `signin` | the two flows |
| `expiry` | when tokens expire |
| `crew` | the four processes, seen from outside |
| `bot` | one of them, seen from inside |
| `board` | the table |
"""
