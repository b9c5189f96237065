"""Tests of `FernetStore`."""
