-- Gives a session up that the sender owns, so that another may claim it at once.
-- KEYS: session, prefix of the sets of owners' sessions
-- ARGV: owner
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'owner', '')
  redis.call('SREM', KEYS[2] .. ARGV[1], string.sub(KEYS[1], -22))
end
return {'released'}
