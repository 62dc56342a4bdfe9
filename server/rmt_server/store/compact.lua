-- Puts compressed blocks in the place of raw ones.
-- ARGV: owner, fence, first block, compressed, ...
-- -> {'ok'} | {'fenced'}
local first = tonumber(ARGV[3])
if missing() then return NO_SESSION end
if not held(ARGV[1], ARGV[2]) or number('compacted_blocks') ~= first then return FENCED end
although_full()
for index = 4, #ARGV do
  local block = first + index - 4
  redis.call('HSET', TEXT, 'z' .. block, ARGV[index])
  redis.call('HDEL', TEXT, block)
end
set('compacted_blocks', first + #ARGV - 3)
touch()
return {'ok'}
