r"""What the server runs for us: five Lua scripts, each atomic, and the names of the keys.

Keys of a namespace, all under one hash tag so that a Cluster keeps them together, none with a time
to live:

    {namespace}:entries    hash    key -> "1:<version>:<value>"; the 1 is the number of this form
    {namespace}:meta       hash    format, epoch, version: the counter; and for each writer
                                   "w:<writer>" -> "<number of its last batch> <time>\n<results>"
    {namespace}:changes    stream  id <version>-0; k and v, or k alone for a delete; p: the version
                                   before, so that a reader sees a gap; e: a new epoch begins
    {namespace}:deletes    stream  id <version>-0; k: what was deleted, kept longer than `changes`

The counter is taken from the server's clock (microseconds) whenever that is ahead, so that a server
that lost its data goes on above what it had given out. The epoch is a random name of the data: a
new one begins when the data are new, or when somebody knows of versions that the server does not.

Each write is sent as part of a numbered batch of one writer. A batch that comes again, because its
connection broke, is answered from `meta` and not carried out again; one that comes late, after a
newer batch of that writer, is refused. So a write takes place once, whatever the connection does.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

__all__ = ["NEEDED", "READ", "SCAN", "STATE", "TOMBSTONES", "WRITE", "Names", "Script"]

NEEDED: Final = (
    "+evalsha +eval +hget +hmget +hset +hdel +hgetall +hlen +hscan "
    "+xadd +xlen +xrange +xrevrange +xread +time"
)
"""What a user must be allowed to do, as ACL SETUSER takes it; see `RedisStore` for the rest."""

CHANGES_KEPT: Final = 10_000
"""About how many changes a reader may be behind before it has to read everything again."""
DELETES_KEPT: Final = 100_000
"""About how many deletes are remembered for readers who are further behind."""
WRITERS_KEPT: Final = 512
"""How many writers' last results are remembered once twice as many have been seen."""


class Names(NamedTuple):
    """The keys of a namespace, in the order in which the scripts take them."""

    meta: bytes
    entries: bytes
    changes: bytes
    deletes: bytes

    @classmethod
    def of(cls, namespace: str) -> Names:
        """The keys of this namespace."""
        return cls(*(f"{{{namespace}}}:{name}".encode() for name in cls._fields))


class Script(NamedTuple):
    """A script and the digest that the server knows it by."""

    source: bytes
    sha: str

    @classmethod
    def of(cls, source: str) -> Script:
        """The script of this source."""
        raw = source.encode()
        return cls(raw, hashlib.sha1(raw, usedforsecurity=False).hexdigest())


_TOOLS: Final = f"""\
local function text(number) return string.format('%.0f', number) end

local function number_of(id) return tonumber(string.match(id, '^%d+')) end

local function check_types()  -- so that a key that is not ours is found before anything is written
  for i, command in ipairs({{'HLEN', 'HLEN', 'XLEN', 'XLEN'}}) do
    local reply = redis.pcall(command, KEYS[i])
    if type(reply) == 'table' and reply.err then
      return redis.error_reply(reply.err .. ' (' .. KEYS[i] .. ')')
    end
  end
end

local epoch, version, now

local function learn(known)
  if known[1] and known[1] ~= '1' then return redis.error_reply('FORMAT ' .. known[1]) end
  local clock = redis.call('TIME')
  epoch, version = known[2], tonumber(known[3] or '0')
  now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end

local function begin_epoch(name, above)
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
  if last[1] then above = math.max(above, number_of(last[1][1])) end
  local before = version
  epoch, version = name, math.max(version + 1, above + 1, now)
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', {CHANGES_KEPT}, text(version) .. '-0',
    'e', epoch, 'p', text(before))
  redis.call('HSET', KEYS[1], 'format', '1', 'epoch', epoch, 'version', text(version))
end
"""

WRITE: Final = Script.of(f"""\
-- ARGV: a name for a new epoch, the newest version known, the writer, the number of its batch;
-- then for each write: 'p' or 'd' with the expected version, if any, behind it; the key; the value.
-- Returns a line for each: '=<version>', '-' (was not there), '!<version found>', 'C' (unreadable)
-- or, at the end, 'E<error>': this one and all after it were not carried out.
{_TOOLS}
local seen, writer, batch = tonumber(ARGV[2]), 'w:' .. ARGV[3], tonumber(ARGV[4])

local function forget_writers()
  local all, ages = redis.call('HGETALL', KEYS[1]), {{}}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'w:' then
      ages[#ages + 1] = {{tonumber(string.match(all[i + 1], ' (%d+)') or '0'), all[i]}}
    end
  end
  table.sort(ages, function(one, other) return one[1] < other[1] end)
  for i = 1, #ages - {WRITERS_KEPT} do redis.call('HDEL', KEYS[1], ages[i][2]) end
end

local known = redis.call('HMGET', KEYS[1], 'format', 'epoch', 'version', writer)
local problem = learn(known)
if problem then return problem end
local last = known[4]
if last then
  local number = number_of(last)
  if batch == number then
    redis.call('HSET', KEYS[1], writer, last)  -- a write, so that WAIT has something to wait for
    return string.sub(last, string.find(last, '\\n', 1, true) + 1)
  end
  if batch < number then return redis.error_reply('LATE batch of a writer') end
else
  problem = check_types()
  if problem then return problem end
  if redis.call('HLEN', KEYS[1]) >= {2 * WRITERS_KEPT} then forget_writers() end
end
if not epoch or seen > version then begin_epoch(ARGV[1], seen) end
local pcall, results, failure = redis.pcall, {{}}, nil
local stands, trimmed = text(version), false  -- the version as elements name it

local function try(...)
  if failure then return nil end
  local reply = pcall(...)
  if type(reply) == 'table' and reply.err then
    failure = reply.err
    return nil
  end
  return reply
end

local function change(id, key, ...)
  if trimmed then return try('XADD', KEYS[3], id .. '-0', 'k', key, 'p', stands, ...) end
  trimmed = true  -- by the first of a batch, for all of it
  try('XADD', KEYS[3], 'MAXLEN', '~', {CHANGES_KEPT}, id .. '-0', 'k', key, 'p', stands, ...)
end

local function write(kind, key, value)
  local after = math.max(version + 1, now)
  local id = text(after)
  if kind == 'p' then
    change(id, key, 'v', value)
    try('HSET', KEYS[2], key, '1:' .. id .. ':' .. value)
  else
    try('HDEL', KEYS[2], key)
    change(id, key)
    try('XADD', KEYS[4], 'MAXLEN', '~', {DELETES_KEPT}, id .. '-0', 'k', key)
  end
  if not failure then version, stands = after, id end
  return '=' .. id
end

local function carry_out(what, key, value)
  if what == 'p' then return write(what, key, value) end
  local kind, expect = string.sub(what, 1, 1), string.sub(what, 2)
  local raw = try('HGET', KEYS[2], key)
  if expect ~= '' then
    local found = raw and string.match(raw, '^1:(%d+):') or '0'
    if raw and found == '0' then return 'C' end
    if found ~= expect then return '!' .. found end
  end
  if kind == 'd' and not raw then return '-' end
  return write(kind, key, value)
end

for i = 5, #ARGV, 3 do
  local result = carry_out(ARGV[i], ARGV[i + 1], ARGV[i + 2])
  results[#results + 1] = failure and 'E' .. failure or result
  if failure then break end
end

local answer = table.concat(results, '\\n')
local mark = ARGV[4] .. ' ' .. text(now) .. '\\n' .. answer
local kept = redis.pcall('HSET', KEYS[1], 'version', text(version), writer, mark)
-- It fails only where nothing else was written either: out of memory, a replica, no permission.
if type(kept) == 'table' and kept.err and not failure then return kept end
return answer
""")

STATE: Final = Script.of(f"""\
-- ARGV: a name for a new epoch, the newest version known; and from a reader who has lost its way
-- the epoch it knows and the last version it has read, else '' and '0'.
-- Returns the epoch, the counter, and whether `deletes` still holds all after the reader's version.
{_TOOLS}
local problem = check_types() or learn(redis.call('HMGET', KEYS[1], 'format', 'epoch', 'version'))
if problem then return problem end
local seen, position = tonumber(ARGV[2]), tonumber(ARGV[4])

local function diverged()
  if ARGV[3] ~= epoch then return false end
  local first = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
  if not first[1] or number_of(first[1][1]) > position then return false end
  return not redis.call('XRANGE', KEYS[3], text(position), text(position))[1]
end

if not epoch or seen > version or diverged() then begin_epoch(ARGV[1], seen) end
local whole = 1
if redis.call('XLEN', KEYS[4]) >= {DELETES_KEPT} then
  local first = redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', 1)
  if number_of(first[1][1]) > position then whole = 0 end
end
return {{epoch, text(version), whole}}
""")

READ: Final = Script.of("return redis.call('HMGET', KEYS[2], unpack(ARGV))")

SCAN: Final = Script.of(
    "return redis.call('HSCAN', KEYS[2], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])"
)

TOMBSTONES: Final = Script.of(
    "return redis.call('XRANGE', KEYS[4], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])"
)
