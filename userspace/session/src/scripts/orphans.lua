-- Lists sessions that may have no host, of those whose data is here: all whose owner has no lease any more, and some of the
-- asker's own; and the workers that have a lease.
-- KEYS: incarnation, newcomer, set of workers
-- ARGV: incarnation, prefix of leases, prefix of the sets of owners' sessions, prefix of sessions, sessions at most, the asker
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return {{}, {}, {}} end
local most = tonumber(ARGV[5])
local function owned(worker, list, count)
  local set = ARGV[3] .. worker
  for _, id in ipairs(redis.call('SRANDMEMBER', set, count)) do
    if redis.call('HGET', ARGV[4] .. id, 'owner') ~= worker then
      -- Expired, or another's.
      redis.call('SREM', set, id)
    elseif #list < count and redis.call('HEXISTS', ARGV[4] .. id, 'data') == 1 then
      list[#list + 1] = id
    end
  end
end
local living, orphans, own = {}, {}, {}
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if redis.call('EXISTS', ARGV[2] .. worker) == 1 then
    living[#living + 1] = worker
  else
    owned(worker, orphans, most)
    if redis.call('EXISTS', ARGV[3] .. worker) == 0 then redis.call('SREM', KEYS[3], worker) end
  end
end
owned(ARGV[6], own, most)
return {living, orphans, own}
