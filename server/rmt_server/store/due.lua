-- KEYS: ready. ARGV: limit
-- -> {'ok', {member, ...}}: who is due, the longest waiting first
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
return {'ok', redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])}
