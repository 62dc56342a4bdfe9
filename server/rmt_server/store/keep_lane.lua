-- Keeps a lane that has reread the text, for the same question later. The last so many stay; asking is no change, so
-- the session's expiry stays as it is.
-- ARGV: name, state, most
-- -> {'ok', bytes more than before}
local name, state, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
if missing() then return NO_SESSION end
local more = #state - redis.call('HSTRLEN', LANES, name)
redis.call('HSET', LANES, name, state, 'n:' .. name, redis.call('HINCRBY', SESSION, 'lane_turn', 1))
while redis.call('HLEN', LANES) > 2 * most do
  local oldest, turn = nil, math.huge
  for _, field in ipairs(redis.call('HKEYS', LANES)) do
    if field:sub(1, 2) == 'n:' then
      local its = tonumber(redis.call('HGET', LANES, field))
      if its < turn then oldest, turn = field:sub(3), its end
    end
  end
  more = more - redis.call('HSTRLEN', LANES, oldest)
  redis.call('HDEL', LANES, oldest, 'n:' .. oldest)
end
count_aside(more)
redis.call('PEXPIREAT', LANES, get('expires_ms'))
return {'ok', more}
