"""Pure parts: what servers of other versions say, and the shapes that drivers make of answers."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions

from twitchvault.errors import CorruptRecord, StoreError, StoreUnavailable
from twitchvault.stores import Change
from twitchvault.stores.base import Unreadable
from twitchvault.stores.redis.failures import Translator
from twitchvault.stores.redis.lane import ITEMS, Lane
from twitchvault.stores.redis.scripts import Names
from twitchvault.stores.redis.wire import Record, glob_of, parse_entry, parse_records

SHA = "f" * 40
CHANGE = Change("key", 7, b"\xff")
PUT, DELETE = Record(7, 5, CHANGE, None), Record(8, 7, Change("key", 8, None), None)
BEGIN = Record(9, 8, None, b"epoch")


@pytest.fixture
def translator() -> Translator:
    """One that knows a password."""
    return Translator("Redis at 'host:1'", ("canary",), tls=False)


@pytest.mark.parametrize(
    ("error", "told", "again"),
    [
        (
            exceptions.ResponseError(
                f"Error running script (call to f_{SHA}): @user_script:9: @user_script: 9: "
                "-OOM command not allowed when used memory > 'maxmemory'."
            ),
            "out of memory",
            False,
        ),
        (
            exceptions.ResponseError(
                f"READONLY You can't write against a read only replica. script: {SHA}, "
                "on @user_script:9."
            ),
            "replica",
            True,
        ),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "replica", True),
        (exceptions.OutOfMemoryError("command not allowed when"), "out of memory", False),
        (
            exceptions.NoPermissionError("User bot has no permissions to run the 'xadd' command"),
            "'xadd'.*ACL SETUSER",
            False,
        ),
        (
            exceptions.ResponseError(
                "The user executing the script can't run this command or subcommand script: "
                f"{SHA}, on @user_script:9."
            ),
            "can't run this command.*ACL SETUSER",
            False,
        ),
        (exceptions.MasterDownError("Link with MASTER is down"), "lost its primary", True),
        (exceptions.ClusterDownError("Hash slot not served"), "cluster is down", True),
        (exceptions.TryAgainError("Multiple keys request"), "moving the namespace's slot", True),
        (exceptions.BusyLoadingError("Redis is loading"), "still loading", True),
        (exceptions.MaxConnectionsError("Too many connections"), "connections are in use", True),
        (exceptions.TimeoutError("Timeout reading from host:1"), "no answer in time", True),
        (TimeoutError(), "no answer in time", True),
        (ConnectionResetError("reset by peer"), "cannot be reached: reset by peer", True),
        (exceptions.SlotNotCoveredError('Slot "1"'), "cluster cannot be reached", True),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), "save its data", False),
        (exceptions.InvalidResponse("Protocol Error: canary"), "unexpected InvalidResponse", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_all_versions(
    translator: Translator, error: Exception, told: str, again: bool
) -> None:
    """Whatever its form, an error is told in our words, and it is known whether to try again."""
    failure = translator.failure(error)
    assert type(failure.error) is StoreUnavailable
    assert failure.again is again
    with pytest.raises(StoreUnavailable, match=f"^Redis at 'host:1': .*{told}"):
        raise failure.error
    assert "user_script" not in str(failure.error)
    assert SHA not in str(failure.error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError(
            "unknown command 'EVALSHA', with args beginning with: 'x' 'canary value'"
        ),
        exceptions.RedisClusterException("No targets were found to execute ('canary',) command on"),
        exceptions.ConnectionError("Error 1 connecting to user:canary@host"),
        exceptions.DataError("Invalid input canary"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_quote_no_arguments(translator: Translator, error: Exception) -> None:
    """What may hold an argument or the password is cut out."""
    failure = translator.failure(error)
    assert isinstance(failure.error, StoreError)
    assert "canary" not in str(failure.error)


def test_wrong_type_names_the_key(translator: Translator) -> None:
    """The key that is not ours is named."""
    reply = "WRONGTYPE Operation against a key holding the wrong kind of value ({a b}:meta)"
    failure = translator.failure(exceptions.ResponseError(reply))
    assert isinstance(failure.error, CorruptRecord)
    assert "'{a b}:meta'" in str(failure.error)


ELEMENTS = [
    (b"7-0", {b"k": b"key", b"p": b"5", b"v": b"\xff"}),
    (b"8-0", {b"k": b"key", b"p": b"7"}),
    (b"9-0", {b"e": b"epoch", b"p": b"8", b"field of the future": b"x"}),
]
FLAT = [[name, [part for pair in fields.items() for part in pair]] for name, fields in ELEMENTS]


@pytest.mark.parametrize(
    "reply",
    [
        [[b"stream", FLAT]],
        {b"stream": FLAT},
        [[b"stream", ELEMENTS]],
        {b"stream": ELEMENTS},
        {b"stream": [ELEMENTS]},
    ],
    ids=["RESP2", "RESP3", "parsed list", "parsed dict", "parsed dict of lists"],
)
def test_changes_in_all_shapes(reply: object) -> None:
    """The driver's versions give the same changes in different shapes."""
    assert parse_records(reply) == [PUT, DELETE, BEGIN]


@pytest.mark.parametrize("reply", [None, [], {}])
def test_no_changes_in_all_shapes(reply: object) -> None:
    """Nothing new is an empty list."""
    assert parse_records(reply) == []


@pytest.mark.parametrize(
    ("raw", "version"),
    [(b"", 1), (b"1", 1), (b"1:", 1), (b"1:7", 1), (b"1:x:v", 1), (b"2:7:v", 7), (b"\xff", 1)],
)
def test_damaged_entries(raw: bytes, version: int) -> None:
    """What is not of our form is unreadable, not empty and not absent."""
    entry = parse_entry("key", raw)
    assert entry.version == version
    assert isinstance(entry.value, Unreadable)
    assert "'key'" in str(entry.value.error)


@pytest.mark.parametrize("value", [b"", b":", b"1:2:3", b"\0\xff\n"])
def test_entries(value: bytes) -> None:
    """A value may hold anything."""
    assert parse_entry("key", b"1:12:" + value) == ("key", 12, value)


def test_names_and_patterns() -> None:
    """All keys of a namespace lie under its hash tag; patterns take a prefix literally."""
    assert Names.of("a") == (b"{a}:meta", b"{a}:entries", b"{a}:changes", b"{a}:deletes")
    assert glob_of("a*?[x]^\\") == b"a\\*\\?\\[x\\]\\^\\\\*"


async def test_lane_batches() -> None:
    """What is asked for while a batch is under way is the next batch, never larger than allowed."""
    batches: list[list[int]] = []

    async def carry(items: list[int]) -> list[int | StoreError]:
        batches.append(items)
        await asyncio.sleep(0)
        return [item * 2 for item in items]

    lane: Lane[int, int] = Lane(carry)
    results = await asyncio.gather(*(lane.ask(number) for number in range(1000)))
    assert results == [number * 2 for number in range(1000)]
    assert [len(batch) for batch in batches] == [ITEMS, ITEMS, ITEMS, 1000 - 3 * ITEMS]


async def test_lane_survives_a_fault() -> None:
    """An unexpected error goes to the batch it hit; the next one is carried."""
    faults = iter([ZeroDivisionError("x"), None])

    async def carry(items: list[int]) -> list[int | StoreError]:
        if fault := next(faults):
            raise fault
        return [*items]

    lane: Lane[int, int] = Lane(carry)
    with pytest.raises(ZeroDivisionError):
        await lane.ask(1)
    assert await lane.ask(2) == 2
