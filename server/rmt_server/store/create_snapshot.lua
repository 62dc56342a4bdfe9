-- KEYS: snapshot. ARGV: ttl_ms, digest of what is asked for, then field, value, ...
-- -> {'ok', created_ms, created (0 or 1)} | {'reused'}. A retry with the same id leaves the snapshot as it stands.
local ttl_ms, asked, created = ARGV[1], ARGV[2], redis.call('EXISTS', KEYS[1]) == 0
if created then
  local expires_ms = now_ms + ttl_ms
  redis.call('HSET', KEYS[1], 'created_ms', now_ms, 'expires_ms', expires_ms, 'asked', asked, unpack(ARGV, 3))
  redis.call('PEXPIREAT', KEYS[1], expires_ms)
elseif redis.call('HGET', KEYS[1], 'asked') ~= asked then
  return {'reused'}
end
return {'ok', redis.call('HGET', KEYS[1], 'created_ms'), created and 1 or 0}
