-- KEYS: usage. ARGV: ttl_ms, then counter, amount, ...: what was found
-- -> {'ok'}
redis.call('HSET', KEYS[1], 'counted_ms', now_ms, unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'ok'}
