-- Lists sessions whose owner has no lease any more and whose data is here, and the workers that have one.
-- KEYS: incarnation, newcomer, set of workers
-- ARGV: incarnation, prefix of leases, prefix of the sets of owners' sessions, prefix of sessions, sessions at most
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then return {{}, {}} end
local living, orphans, most = {}, {}, tonumber(ARGV[5])
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if redis.call('EXISTS', ARGV[2] .. worker) == 1 then
    living[#living + 1] = worker
  else
    local owned = ARGV[3] .. worker
    -- Those that have expired meanwhile are taken out on the way.
    for _, id in ipairs(redis.call('SRANDMEMBER', owned, most)) do
      if redis.call('HGET', ARGV[4] .. id, 'owner') ~= worker then
        redis.call('SREM', owned, id)
      elseif #orphans < most and redis.call('HEXISTS', ARGV[4] .. id, 'data') == 1 then
        orphans[#orphans + 1] = id
      end
    end
    if redis.call('EXISTS', owned) == 0 then redis.call('SREM', KEYS[3], worker) end
  end
end
return {living, orphans}
