-- The next blocks of kept text that are read and not compressed yet.
-- ARGV: owner, fence, most blocks
-- -> {'ok', first block, {raw, ...}} | {'fenced'}
if missing() then return NO_SESSION end
if not held(ARGV[1], ARGV[2]) then return FENCED end
local first = number('compacted_blocks')
local stop = math.min(block_of(number('read_bytes'), number('text_origin')), first + ARGV[3])
if get('keep_text') == '0' or stop <= first then return {'ok', first, {}} end

local blocks = {}
for block = first, stop - 1 do
  blocks[#blocks + 1] = block
end
return {'ok', first, redis.call('HMGET', TEXT, unpack(blocks))}
