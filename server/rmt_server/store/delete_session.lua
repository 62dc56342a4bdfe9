-- -> {'ok', record}: as it was
if missing() then return NO_SESSION end
local last = record()
redis.call('UNLINK', unpack(KEYS))
return {'ok', last}
