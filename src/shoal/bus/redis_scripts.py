"""The scripts of ``redis+streams://``: what the broker does in one step, in Lua.

Numbers: one counter for the whole cluster, in a hash with the epoch that it belongs to. Logs: a stream for each, whose
ids are those numbers. Each script is loaded once for a connection and called by its digest.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["APPEND", "CLAIM", "DROP", "HEARTBEAT", "HISTORY", "OPEN", "READ", "SAVE", "SCRIPTS", "digest"]

# Whether the broker still is the one that this node knew. One that lost its memory has no epoch; one that lost its last
# second (an append-only file that is written each second, a failover to a replica) counts lower than what was received.
# Others may have counted on since, so who comes first after a restart notes the number with which the run before it has
# ended. ARGV: epoch and last number that the node knows, an epoch to begin, run of the broker, the one that it knew.
# It writes in any case: a broker that takes nothing is found out before the link counts as up.
OPEN: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'e', 'n', 'r')
local epoch, number, last = meta[1], tonumber(meta[2] or '0'), tonumber(ARGV[2])
local run = ARGV[4] == '' and meta[3] or ARGV[4]
if meta[3] and meta[3] ~= '' and meta[3] ~= run then redis.call('HSET', KEYS[1], 'end.' .. meta[3], number) end
redis.call('HSET', KEYS[1], 'r', run)
local ended = ARGV[5] ~= ARGV[4] and redis.call('HGET', KEYS[1], 'end.' .. ARGV[5])
if not epoch or (epoch == ARGV[1] and (ended and tonumber(ended) or number) < last) then
  epoch = ARGV[3]
  number = math.max(number, last)
  redis.call('HSET', KEYS[1], 'e', epoch, 'n', number)
end
return {epoch, number}
"""

# Number, keep and publish messages. What was done before the link was lost is not done again: a sender counts its
# messages, and the broker remembers how far it came.
APPEND: Final = b"""
local meta = redis.call('HMGET', KEYS[1], 'e', 'n')
local epoch, number = meta[1], tonumber(meta[2] or '0')
if not epoch then
  epoch = ARGV[2]
  number = tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], 'e', epoch)
end
local done = tonumber(redis.call('GET', KEYS[2]) or '-1')
local sequence = tonumber(ARGV[1])
for i = 7, #ARGV, 3 do
  if sequence > done then
    number = number + 1
    local key = ARGV[6] .. ARGV[i + 1]
    redis.call('XADD', key, 'MAXLEN', '~', ARGV[4], number .. '-0', 'p', ARGV[i + 2])
    redis.call('PEXPIRE', key, ARGV[5])
    redis.call('PUBLISH', ARGV[i], 'L' .. epoch .. '.' .. number .. ':' .. ARGV[i + 2])
    done = sequence
  end
  sequence = sequence + 1
end
redis.call('HSET', KEYS[1], 'n', number)
redis.call('SET', KEYS[2], done, 'PX', 86400000)
return number
"""

# What some logs have behind a number, and which of them may have had more: a log that has never been as long as it may
# be was never cut.
READ: Final = b"""
local after, longest, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local gaps, found = {}, {}
for i = 4, #ARGV do
  local key = prefix .. ARGV[i]
  local entries = redis.call('XRANGE', key, '(' .. after .. '-0', '+')
  if #entries > 0 and redis.call('XLEN', key) >= longest then
    local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)
    if tonumber(string.match(first[1][1], '^%d+')) > tonumber(after) + 1 then gaps[#gaps + 1] = ARGV[i] end
  end
  for j = 1, #entries do
    found[#found + 1] = string.match(entries[j][1], '^%d+')
    found[#found + 1] = entries[j][2][2]
  end
end
return {gaps, found}
"""

# The newest messages of a log, or those behind a number.
HISTORY: Final = b"""
local meta = redis.call('HGET', KEYS[1], 'e')
local entries
if ARGV[2] == '' then
  entries = redis.call('XREVRANGE', ARGV[1], '+', '-', 'COUNT', ARGV[3])
else
  entries = redis.call('XRANGE', ARGV[1], ARGV[2] .. '-0', '+', 'COUNT', ARGV[3])
end
local found = {}
for j = 1, #entries do
  found[#found + 1] = string.match(entries[j][1], '^%d+')
  found[#found + 1] = entries[j][2][2]
end
return {meta, found}
"""

# Write clients' states into the hash of their node. One that was claimed by another node does not rise again: its
# secret is among those that have moved. Nor does one of a node that was taken for dead, which is not among those that
# live. Gives the secrets of those.
SAVE: Final = b"""
local gone = {}
for i = 3, #ARGV, 4 do
  local pid, birth, new, value = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if new == '1' or redis.call('HEXISTS', KEYS[1], pid) == 1
      or ((redis.call('HGET', KEYS[2], pid) or birth) == ARGV[1] and redis.call('ZSCORE', KEYS[3], ARGV[1])) then
    redis.call('HSET', KEYS[1], pid, value)
  else
    gone[#gone + 1] = pid
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return gone
"""

# Forget clients' states. Gives those that were there.
DROP: Final = b"""
local dropped = {}
for i = 1, #ARGV do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('HDEL', KEYS[2], ARGV[i])
    dropped[#dropped + 1] = ARGV[i]
  end
end
return dropped
"""

# A client is back: take its state out of whichever node's hash has it and put it into this node's, tell that node, and
# give what the client has missed, unless that cannot be known any more. ARGV: secret, tag of its birth, own tag, keys
# of the hashes, of the logs, longest log, most bytes, offset (epoch, number), namespace, lifetime of the hash in ms,
# channel of nodes, message for the other node.
CLAIM: Final = b"""
local pid, birth, own, states, logs = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local longest, most, namespace = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[10]
local holder = redis.call('HGET', KEYS[2], pid) or birth
local state = redis.call('HGET', states .. holder, pid)
if not state then return {'unknown'} end
local fields = cmsgpack.unpack(string.sub(state, 5, 4 + struct.unpack('>I4', state)))
if fields[1] ~= namespace then return {'unknown'} end
redis.call('HDEL', states .. holder, pid)
if holder ~= own then redis.call('PUBLISH', ARGV[12] .. holder, ARGV[13]) end
local epoch = redis.call('HGET', KEYS[1], 'e')
local since = tonumber(fields[5])
if ARGV[8] == epoch and tonumber(ARGV[9]) > since then since = tonumber(ARGV[9]) - 1 end
local why = fields[4] ~= epoch and 'epoch' or nil
local found, bytes = {}, 0
if not why then
  local names = {namespace .. '#', namespace .. '#' .. fields[2]}
  for _, room in ipairs(fields[3]) do names[#names + 1] = namespace .. '#' .. room[1] end
  for _, name in ipairs(names) do
    local key = logs .. name
    local entries = redis.call('XRANGE', key, '(' .. since .. '-0', '+')
    if #entries > 0 and redis.call('XLEN', key) >= longest then
      local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)
      if tonumber(string.match(first[1][1], '^%d+')) > since + 1 then why = 'trimmed' end
    end
    for j = 1, #entries do
      bytes = bytes + #entries[j][2][2]
      found[#found + 1] = string.match(entries[j][1], '^%d+')
      found[#found + 1] = entries[j][2][2]
    end
    if bytes > most then why = why or 'size' end
    if why then break end
  end
end
if why then
  redis.call('HDEL', KEYS[2], pid)
  return {why, state}
end
redis.call('HSET', states .. own, pid, state)
redis.call('PEXPIRE', states .. own, ARGV[11])
if own == birth then redis.call('HDEL', KEYS[2], pid) else redis.call('HSET', KEYS[2], pid, own) end
return {'ok', state, found}
"""

# This node lives: so do its clients' states. Gives the states of nodes that have been gone for as long as a client may
# stay away, to one node alone; 'dead' to a node that was itself taken for one; 'late' to one whose lease had run out:
# the broker may have been away, and the others be as late. ARGV: tag, lease, how long a client may stay away, lifetime
# of the hash, all in ms; keys of the hashes; 1 if this node was there before; 1 if it may judge others.
HEARTBEAT: Final = b"""
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[6] == '1' and not lease then return 'dead' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[3], 86400000)
if not lease or tonumber(lease) < now then return 'late' end
local expired = {}
if ARGV[7] == '0' then return expired end
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3], 'LIMIT', 0, 4)) do
  local fields = redis.call('HGETALL', ARGV[5] .. tag)
  for i = 1, #fields, 2 do
    redis.call('HDEL', KEYS[3], fields[i])
    expired[#expired + 1] = fields[i + 1]
  end
  redis.call('DEL', ARGV[5] .. tag)
  redis.call('ZREM', KEYS[1], tag)
end
return expired
"""

SCRIPTS: Final = (OPEN, APPEND, READ, HISTORY, SAVE, DROP, CLAIM, HEARTBEAT)


def digest(script: bytes) -> bytes:
    """The name by which a loaded script is called."""
    return hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()
