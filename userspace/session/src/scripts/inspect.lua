-- Reads everything about a session but its data. Changes nothing.
-- KEYS: session, incarnation, newcomer
-- ARGV: incarnation, prefix of leases
local known = redis.call('GET', KEYS[2])
if known ~= ARGV[1] then return {'incarnation', known or ''} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'newcomer'} end
local record = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'number', 'written', 'ended', 'set', 'placed')
if record[5] then return {'ended'} end
local owner = record[2] or ''
local lease = owner ~= '' and redis.call('GET', ARGV[2] .. owner) or ''
return {'record', record[1] or '0', owner, lease or '', record[3] or '0', record[4] or '0', record[6] or '', record[7] or '0'}
