"""The worlds of the flows' tests, for the promises that are about flows."""

from tests.flows.conftest import place, small, world

__all__ = ["place", "small", "world"]
