-- Renews a worker's lease, and makes an incarnation for a server that has none.
-- KEYS: lease, incarnation, newcomer, set of workers, run of the server, mark of a server without any claim
-- ARGV: value of the lease, its life (ms), incarnation for a server without one, whether all servers are without one,
--       life of a newcomer's mark (ms), whether the sender still copies sessions to it, the worker, the server's run
local known = redis.call('GET', KEYS[2])
-- Started again it may lack the last second of what it had acknowledged, also with an append-only file.
if not known or ARGV[8] ~= '' and redis.call('GET', KEYS[5]) ~= ARGV[8] then
  known = ARGV[3]
  redis.call('SET', KEYS[2], known)
  redis.call('SET', KEYS[5], ARGV[8])
  if ARGV[4] == '0' then
    redis.call('SET', KEYS[3], '1', 'PX', ARGV[5])
    redis.call('DEL', KEYS[6])
  else
    redis.call('SET', KEYS[6], '1', 'PX', ARGV[5])
  end
end
if ARGV[6] == '1' then redis.call('PEXPIRE', KEYS[3], ARGV[5]) end
local had = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SADD', KEYS[4], ARGV[7])
return {known, had, redis.call('EXISTS', KEYS[3])}
