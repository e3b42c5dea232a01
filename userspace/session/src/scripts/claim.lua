-- Makes the sender a session's owner under a new epoch, unless another owner has a lease or a higher epoch.
-- KEYS: session, incarnation, newcomer, prefix of the sets of owners' sessions, mark of a server without any claim
-- ARGV: incarnation, epoch, owner, prefix of leases, owner that is known to be dead, life (ms), whether data is wanted,
--       set of copies
local known = redis.call('GET', KEYS[2])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'newcomer'} end
local record = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'number', 'written', 'ended', 'set', 'placed')
if record[5] then return {'ended'} end
local owner = record[2] or ''
local lease = owner ~= '' and redis.call('GET', ARGV[4] .. owner) or ''
if tonumber(record[1] or '0') >= tonumber(ARGV[2]) then return {'higher', record[1], owner, lease or ''} end
if owner ~= ARGV[3] and owner ~= ARGV[5] and lease and lease ~= '' then
  return {'owned', record[1], owner, lease}
end
redis.call('DEL', KEYS[5])
if owner ~= ARGV[3] then
  local id = string.sub(KEYS[1], -22)
  if owner ~= '' then redis.call('SREM', KEYS[4] .. owner, id) end
  redis.call('SADD', KEYS[4] .. ARGV[3], id)
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'owner', ARGV[3])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[1], 'set', ARGV[8], 'placed', ARGV[2]) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[6]) then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
local data = ARGV[7] == '1' and redis.call('HGET', KEYS[1], 'data')
return {'claimed', record[3] or '0', record[4] or '0', record[6] or '', record[7] or '0', data and '1' or '0', data or ''}
