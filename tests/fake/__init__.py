"""Tests of the double itself, over real HTTP."""
