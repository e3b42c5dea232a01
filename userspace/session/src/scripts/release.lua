-- Gives a session up that the sender owns, so that another may claim it at once.
-- KEYS: session
-- ARGV: owner
if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then redis.call('HSET', KEYS[1], 'owner', '') end
return {'released'}
