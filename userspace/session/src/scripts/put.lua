-- Keeps a copy of a session, unless the sender is no longer its owner, or the session has ended.
-- KEYS: session, incarnation, newcomer, prefix of the sets of owners' sessions
-- ARGV: incarnation, epoch, owner, number, data, life (ms)
local known = redis.call('GET', KEYS[2])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
local record = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'number', 'written', 'ended')
if record[5] then return {'ended'} end
local epoch, mine = tonumber(record[1] or '0'), tonumber(ARGV[2])
local owner = record[2] or ''
if epoch > mine or (epoch == mine and owner ~= '' and owner ~= ARGV[3]) then return {'fenced', record[1], owner} end
local written = tonumber(record[4] or '0')
if owner ~= ARGV[3] then
  local id = string.sub(KEYS[1], -22)
  if owner ~= '' then redis.call('SREM', KEYS[4] .. owner, id) end
  redis.call('SADD', KEYS[4] .. ARGV[3], id)
end
if written < mine or (written == mine and tonumber(record[3] or '0') < tonumber(ARGV[4])) then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'owner', ARGV[3], 'number', ARGV[4], 'data', ARGV[5], 'written', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return {'kept', redis.call('EXISTS', KEYS[3])}
