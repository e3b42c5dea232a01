-- Keeps copies of sessions, unless the sender is no longer the owner, or the session has ended. The answer names those that are
-- refused, by their place.
-- KEYS: incarnation, newcomer, prefix of the sets of owners' sessions, sessions
-- ARGV: incarnation, owner, life (ms); of each session epoch, number, data
local known = redis.call('GET', KEYS[1])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
local me, life = ARGV[2], ARGV[3]
local answer = {'kept', redis.call('EXISTS', KEYS[2])}
for at = 4, #KEYS do
  local key, of = KEYS[at], 3 * (at - 3) + 1
  local record = redis.call('HMGET', key, 'epoch', 'owner', 'number', 'written', 'ended')
  local epoch, mine = tonumber(record[1] or '0'), tonumber(ARGV[of])
  local owner = record[2] or ''
  local refusal = nil
  if record[5] then
    refusal = 'ended'
  elseif epoch > mine or (epoch == mine and owner ~= '' and owner ~= me) then
    refusal = 'fenced'
  end
  if refusal then
    answer[#answer + 1] = at - 4
    answer[#answer + 1] = refusal
  else
    if owner ~= me then
      local id = string.sub(key, -22)
      if owner ~= '' then redis.call('SREM', KEYS[3] .. owner, id) end
      redis.call('SADD', KEYS[3] .. me, id)
    end
    local written = tonumber(record[4] or '0')
    if written < mine or (written == mine and tonumber(record[3] or '0') < tonumber(ARGV[of + 1])) then
      redis.call('HSET', key, 'epoch', ARGV[of], 'owner', me, 'number', ARGV[of + 1], 'data', ARGV[of + 2],
        'written', ARGV[of])
    end
    redis.call('PEXPIRE', key, life)
  end
end
return answer
