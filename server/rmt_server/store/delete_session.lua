-- -> {'ok', created_ms}
if missing() then return NO_SESSION end
local created_ms = get('created_ms')
redis.call('UNLINK', unpack(KEYS))
return {'ok', created_ms}
