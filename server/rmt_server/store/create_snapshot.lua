-- KEYS: snapshot. ARGV: ttl_ms, then field, value, ...
-- -> {'ok', created_ms, created (0 or 1)}. A retry with the same id leaves the snapshot as it stands.
local created = redis.call('EXISTS', KEYS[1]) == 0
if created then
  local expires_ms = now_ms + ARGV[1]
  redis.call('HSET', KEYS[1], 'created_ms', now_ms, 'expires_ms', expires_ms, unpack(ARGV, 2))
  redis.call('PEXPIREAT', KEYS[1], expires_ms)
end
return {'ok', redis.call('HGET', KEYS[1], 'created_ms'), created and 1 or 0}
