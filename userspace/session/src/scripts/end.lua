-- Ends a session for good: nothing is kept of it but that, as long as its cookie could live.
-- KEYS: session, incarnation, newcomer, prefix of the sets of owners' sessions
-- ARGV: incarnation, epoch, owner, life (ms)
local known = redis.call('GET', KEYS[2])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
local record = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'ended')
if not record[3] then
  local epoch, mine = tonumber(record[1] or '0'), tonumber(ARGV[2])
  local owner = record[2] or ''
  if epoch > mine or (epoch == mine and owner ~= '' and owner ~= ARGV[3]) then return {'fenced', record[1], owner} end
  if owner ~= '' then redis.call('SREM', KEYS[4] .. owner, string.sub(KEYS[1], -22)) end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'owner', ARGV[3], 'ended', '1')
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'kept', redis.call('EXISTS', KEYS[3])}
