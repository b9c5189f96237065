"""The public surface, promise by promise, against the double over real HTTP."""
