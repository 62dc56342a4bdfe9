-- A replica says that it is there, and learns how many there are.
-- KEYS: replicas. ARGV: owner, how long it counts in milliseconds (0: it leaves)
-- -> {'ok', replicas}
local owner, until_ms = ARGV[1], now_ms + ARGV[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
redis.call('ZREM', KEYS[1], owner)
if until_ms > now_ms then
  redis.call('ZADD', KEYS[1], until_ms, owner)
  redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
end
return {'ok', redis.call('ZCARD', KEYS[1])}
