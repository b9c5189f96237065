"""The Lua scripts that the server runs for us, each atomic, and the keys that they work on.

Three keys make up a namespace. They share one hash tag, so that a Cluster keeps them together, and
none has a time to live:

    {namespace}:entries    hash    key -> "1:<version>:<value>", and "" -> "1 <epoch> <version>"
    {namespace}:changes    stream  id "<version>-<epoch>"; w, k, p and, unless it is a delete, v
    {namespace}:deletes    stream  id "<version>-<epoch>"; k: deletes, kept longer than `changes`

The empty field holds what belongs to the namespace as a whole; no key is empty. Its version is the
newest one given out. Versions follow the server's clock in microseconds, so that a server which
lost its data goes on above all it had given out.

An epoch is the time in which nothing was lost. It is named by the version it begins with. A new one
begins when one of the keys is missing or does not belong to the others, when a caller has seen a
version that the server does not know, or when the stream lacks a change that a caller has seen.

In `changes`, p is the version of the change before: a reader that stands elsewhere has missed
something. w names the write: the driver sends a call again if its connection breaks, and a write
that is refused because its first try went through finds itself by that name.
"""

from __future__ import annotations

from typing import Final

COMMANDS: Final = (
    "+evalsha +eval +hget +hmget +hset +hdel +hscan +xadd +xtrim +xrange +xrevrange +xread +time"
)
"""What a user must be allowed to do, as ACL SETUSER takes it.

Besides: wait for `min_replicas`; info for a warning about `maxmemory-policy`; and what the
driver sends: hello, client, select, in a Cluster also cluster and command.
"""

CHANGES_KEPT: Final = 10_000  # about so many, before a reader has to read everything again
DELETES_KEPT: Final = 100_000  # about so many, for readers that are further behind
STEP: Final = 500  # entries or changes that one call returns

_STATE: Final = """\
-- ARGV[1]: the newest version that the caller has seen.
local seen = tonumber(ARGV[1])

local function text(number) return string.format('%.0f', number) end

local function version_of(id) return tonumber(string.match(id, '^%d+')) end

local state = redis.call('HGET', KEYS[1], '') or '1 0 0'
local form, epoch, version = string.match(state, '^(%d+) (%d+) (%d+)$')
if form ~= '1' then return redis.error_reply('FORM of the namespace is unknown') end
version = tonumber(version)

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- Reading the streams also finds a key of another type before anything is written.
local change = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local delete = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local lost = epoch == '0' or seen > version
  or not change or change[1] ~= text(version) .. '-' .. epoch
  or not delete or string.match(delete[1], '%d+$') ~= epoch

local function begin_epoch()
  local above = math.max(version, seen)
  for _, last in pairs({change, delete}) do above = math.max(above, version_of(last[1])) end
  local before = text(version)
  version = math.max(above + 1, now)
  epoch = text(version)
  redis.call('HSET', KEYS[1], '', '1 ' .. epoch .. ' ' .. epoch)
  redis.call('XADD', KEYS[2], epoch .. '-' .. epoch, 'p', before)
  redis.call('XADD', KEYS[3], epoch .. '-' .. epoch, 'p', before)
end
"""

WRITE: Final = f"""\
{_STATE}
-- ARGV[2]: a name for this call; then for each write: 'put' or 'delete', the expected version or
-- '', the key, the value.
-- Returns for each: '=<version>', '-' (was not there), '!<version found>' or '?' (unreadable).
if lost then begin_epoch() end

local wrote, first_tries = false, {{}}
if version > seen then
  for _, change in ipairs(redis.call('XREVRANGE', KEYS[2], '+', text(seen), 'COUNT', {STEP})) do
    first_tries[change[2][2]] = '=' .. text(version_of(change[1]))
  end
end

local function write(name, kind, expect, key, value)
  if first_tries[name] then
    wrote = true
    return first_tries[name]
  end
  if kind == 'delete' or expect ~= '' then
    local stored = redis.call('HGET', KEYS[1], key)
    local found = stored and string.match(stored, '^1:(%d+):') or '0'
    if expect ~= '' and stored and found == '0' then return '?' end
    if expect ~= '' and expect ~= found then return '!' .. found end
    if kind == 'delete' and not stored then return '-' end
  end

  -- A user who may not do one of these fails before the entry is touched.
  if not wrote then redis.call('HSET', KEYS[1], '', '1 ' .. epoch .. ' ' .. text(version)) end
  wrote = true
  local before = text(version)
  version = math.max(version + 1, now)
  local this = text(version)
  local id = this .. '-' .. epoch
  if kind == 'put' then
    redis.call('XADD', KEYS[2], id, 'w', name, 'p', before, 'k', key, 'v', value)
    redis.call('HSET', KEYS[1], key, '1:' .. this .. ':' .. value)
  else
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', {DELETES_KEPT}, id, 'k', key)
    redis.call('HDEL', KEYS[1], key)
    redis.call('XADD', KEYS[2], id, 'w', name, 'p', before, 'k', key)
  end
  return '=' .. this
end

local results = {{}}
for i = 3, #ARGV, 4 do
  results[#results + 1] = write(ARGV[2] .. '.' .. i, ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
if wrote then  -- for a first try too: WAIT waits for what this call itself has written
  redis.call('HSET', KEYS[1], '', '1 ' .. epoch .. ' ' .. text(version))
  redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', {CHANGES_KEPT})
end
return table.concat(results, ' ')
"""

CHECK: Final = f"""\
{_STATE}
-- ARGV[2]: the epoch that the caller knows; ARGV[3]: the version up to which it has read.
-- Returns the epoch, the newest version, and the changes after the caller's: false if some of them
-- are in the stream no more.
local function change_at(version)
  return redis.call('XRANGE', KEYS[2], text(version), text(version))[1]
end

if epoch == ARGV[2] and not lost then
  -- A stream that goes back further than the caller, but lacks what it has seen, is another one.
  local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  lost = version_of(first[1]) <= seen and not change_at(seen)
end
if lost then begin_epoch() end

local position = tonumber(ARGV[3])
local after = change_at(position)
  and redis.call('XRANGE', KEYS[2], text(position + 1), '+', 'COUNT', {STEP})
return {{epoch, text(version), after or false}}
"""

# Scripts, not plain commands: a Cluster's client may ask a replica for those.
READ: Final = "return redis.call('HMGET', KEYS[1], unpack(ARGV))"
SCAN: Final = f"return redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', {STEP})"
DELETES: Final = f"return redis.call('XRANGE', KEYS[3], ARGV[1], ARGV[2], 'COUNT', {STEP})"
INFO: Final = "return redis.pcall('INFO', 'memory')"
