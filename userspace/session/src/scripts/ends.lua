-- Lists some sessions that have ended, from a cursor on: the next cursor, 0 at the end; and of each its ID, its epoch, and how long
-- its end is still to be known (ms).
-- KEYS: set of ended sessions
-- ARGV: prefix of sessions, cursor, about how many
local page = redis.call('SSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local list = {}
for _, id in ipairs(page[2]) do
  local session = ARGV[1] .. id
  local left, epoch = redis.call('PTTL', session), redis.call('HGET', session, 'epoch')
  if left > 0 and epoch then
    list[#list + 1] = id
    list[#list + 1] = epoch
    list[#list + 1] = left
  end
end
return {page[1], list}
