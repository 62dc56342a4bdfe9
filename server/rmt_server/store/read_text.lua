-- ARGV: owner or '', fence, start, stop. A reader asks under its lease, others without.
-- -> {'ok', first byte of the first block, stop, {raw, compressed, raw, ...}, tail}
--    | {'fenced'} | {'dropped', first kept byte}
if missing() then return NO_SESSION end
local owner, fence = unpack(ARGV)
if owner ~= '' and not held(owner, fence) then return FENCED end
local start, stop = tonumber(ARGV[3]), math.min(tonumber(ARGV[4]), number('accepted_bytes'))
if start < number('text_start') then return {'dropped', number('text_start')} end
if stop <= start then return {'ok', start, start, {}, ''} end

local origin, fields = number('text_origin'), {}
local first, last, tail = (block_of(start, origin)), (block_of(stop - 1, origin)), ''
for block = first, last do
  fields[#fields + 1] = block
  fields[#fields + 1] = 'z' .. block
end
if last == block_of(number('accepted_bytes'), origin) then tail = redis.call('GET', TAIL) or '' end
return {'ok', origin + first * BLOCK_BYTES, stop, redis.call('HMGET', TEXT, unpack(fields)), tail}
