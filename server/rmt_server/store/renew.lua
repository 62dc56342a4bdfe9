-- ARGV: owner, fence, lease_ms
-- -> {'ok', record} | {'fenced'}
local owner, fence, lease_ms = unpack(ARGV)
if missing() then return NO_SESSION end
if not held(owner, fence) then return FENCED end
although_full()
set('lease_until_ms', now_ms + lease_ms)
return {'ok', record()}
