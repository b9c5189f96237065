"""The demo: two users sign in, then four processes share their tokens while these expire.

`make demo` runs it. `__main__` is the demo, `worker` one of its processes, `store` makes the store.
"""
