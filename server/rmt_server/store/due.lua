-- KEYS: ready. ARGV: limit
-- -> {'ok', {member, ...}, hints}: who is due, the longest waiting first, and how many hints there are in all
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])
return {'ok', due, redis.call('ZCARD', KEYS[1])}
