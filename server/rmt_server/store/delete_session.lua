-- -> {'ok', record, ends}: as it was, and the snapshots that were kept by themselves
if missing() then return NO_SESSION end
local last, ends = record(), redis.call('LRANGE', ENDS, 0, -1)
redis.call('UNLINK', unpack(KEYS))
return {'ok', last, ends}
