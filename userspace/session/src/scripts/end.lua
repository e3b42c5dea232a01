-- Ends a session for good: nothing is kept of it but that, as long as its cookie could live.
-- KEYS: session, incarnation, newcomer, prefix of the sets of owners' sessions, set of ended sessions
-- ARGV: incarnation, epoch, owner (empty if it is only passed on that it has ended), life (ms)
local known = redis.call('GET', KEYS[2])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
local record = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'ended')
local id = string.sub(KEYS[1], -22)
if not record[3] then
  local epoch, mine = tonumber(record[1] or '0'), tonumber(ARGV[2])
  local owner = record[2] or ''
  local is_anothers = epoch > mine or (epoch == mine and owner ~= '' and owner ~= ARGV[3])
  if ARGV[3] ~= '' and is_anothers then return {'fenced'} end
  if owner ~= '' then redis.call('SREM', KEYS[4] .. owner, id) end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'owner', ARGV[3], 'ended', '1')
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
-- So that a server which has lost it can be told. Each that comes makes up for two that are over.
redis.call('SADD', KEYS[5], id)
local prefix = string.sub(KEYS[1], 1, -23)
for _, other in ipairs(redis.call('SRANDMEMBER', KEYS[5], 2)) do
  if redis.call('EXISTS', prefix .. other) == 0 then redis.call('SREM', KEYS[5], other) end
end
if redis.call('PTTL', KEYS[5]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[5], ARGV[4]) end
return {'kept', redis.call('EXISTS', KEYS[3])}
