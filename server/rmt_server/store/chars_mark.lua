-- The last byte up to a given one before which the characters are counted.
-- ARGV: byte of the text
-- -> {'ok', byte, characters that begin before it} | {'ok'}: none is known
if missing() then return NO_SESSION end
local byte = tonumber(ARGV[1])
local last = get('counted_chars') and block_of(byte, number('text_origin')) or -1
for block = last, 0, -1 do
  local mark = redis.call('HGET', TEXT, 'c' .. block)
  local at, chars = (mark or ''):match('(%d+) (%d+)')
  if at and tonumber(at) <= byte then return {'ok', tonumber(at), tonumber(chars)} end
end
return {'ok'}
