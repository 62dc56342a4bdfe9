-- ARGV: owner, lease_ms
-- -> {'ok', record, state, movements, fence, now_ms, resumed (0 or 1)} | {'held', until_ms, now_ms} | {'idle'}
local owner, lease_ms = unpack(ARGV)
if missing() then return NO_SESSION end
local holder, until_ms = get('owner'), number('lease_until_ms')
if holder and holder ~= owner and until_ms > now_ms and get('life') == life() then
  return {'held', until_ms, now_ms}
end
if not pending() then return {'idle'} end

although_full()
local fence = redis.call('HINCRBY', SESSION, 'fence', 1)
set('owner', owner, 'lease_until_ms', now_ms + lease_ms, 'life', life())
return {'ok', record(), redis.call('GET', STATE), redis.call('GET', MOVEMENTS) or '', fence, now_ms, holder and 1 or 0}
