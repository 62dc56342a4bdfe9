-- Takes a tenant's share of its quotas before anything is made; what is refused has changed nothing.
-- KEYS: usage, tokens of the day. ARGV: ttl_ms, limit of tokens, then limit, amount of each of QUOTAS; limit 0: none
-- -> {'ok'} | {'unknown'}: count first | {'over', quota, limit, used, milliseconds since the last count}
local QUOTAS = {'sessions', 'snapshots', 'kept_bytes', 'unread_bytes'}
local counted_ms = tonumber(redis.call('HGET', KEYS[1], 'counted_ms'))
if not counted_ms then return {'unknown'} end

local most_tokens, tokens = tonumber(ARGV[2]), tonumber(redis.call('GET', KEYS[2]) or '0')
if most_tokens > 0 and tokens >= most_tokens then return {'over', 'tokens_day', most_tokens, tokens, 0} end
for index, quota in ipairs(QUOTAS) do
  local limit, amount = tonumber(ARGV[2 * index + 1]), tonumber(ARGV[2 * index + 2])
  local used = tonumber(redis.call('HGET', KEYS[1], quota) or '0')
  if amount > 0 and limit > 0 and used + amount > limit then
    return {'over', quota, limit, used, now_ms - counted_ms}
  end
end
for index, quota in ipairs(QUOTAS) do
  redis.call('HINCRBY', KEYS[1], quota, ARGV[2 * index + 2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'ok'}
