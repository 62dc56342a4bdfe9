-- Moves a tenant's counters by what has changed. Counters that are not there are counted anew when they are needed.
-- KEYS: usage, tokens of the day. ARGV: tokens, ttl_ms of the tokens, then counter, amount, ...
-- -> {'ok'}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for index = 3, #ARGV, 2 do
    redis.call('HINCRBY', KEYS[1], ARGV[index], ARGV[index + 1])
  end
end
if ARGV[1] ~= '0' then
  redis.call('INCRBY', KEYS[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {'ok'}
