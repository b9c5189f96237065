"""Tests of `RedisStore` against real servers."""
