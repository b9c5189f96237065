"""Processes with a flow each over one store, for the tests of several folders."""
