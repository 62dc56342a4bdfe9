-- A piece of a document: checked, kept, and the offset moved, in one step.
-- ARGV: document, offset, data, complete (0 or 1), utf8_tail in hexadecimal, max_unread_bytes, writer,
--       length of the document or '', characters that begin in the data
-- -> {'ok', json, now_ms, expires_ms}
--    | {'document'} | {'superseded', offset} | {'offset', expected} | {'completed'} | {'length', declared}
--    | {'full', unread}
local id, data, complete, utf8_tail = ARGV[1], ARGV[3], ARGV[4] == '1', ARGV[5]
local offset, max_unread = tonumber(ARGV[2]), tonumber(ARGV[6])
local writer, length, chars = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if missing() then return NO_SESSION end
local document = load_document(id)
if not document then return {'document'} end
if document.writer ~= writer then return {'superseded', document.offset} end
if document.offset ~= offset then return {'offset', document.offset} end
if document.complete then return {'completed'} end
local reached = offset + #data
local contradicted = contradicted_length(document, length, reached)
if contradicted then return {'length', contradicted} end
if length then document.length = length end
if complete and document.length ~= cjson.null and reached < document.length then return {'length', document.length} end
local accepted = number('accepted_bytes')
local unread = accepted - number('read_bytes')
if #data > 0 and unread + #data > max_unread then return {'full', unread} end

-- The tail grows by APPEND, so that small pieces do not write their whole block to the log again and again.
local block, filled = block_of(accepted, number('text_origin'))
local counted = counted_chars()
if counted then counted = counted + chars end
if filled + #data < BLOCK_BYTES then
  redis.call('APPEND', TAIL, data)
else
  local text, first = (redis.call('GET', TAIL) or '') .. data, 1
  while #text - first + 1 >= BLOCK_BYTES do
    redis.call('HSET', TEXT, block, text:sub(first, first + BLOCK_BYTES - 1))
    block, first = block + 1, first + BLOCK_BYTES
  end
  redis.call('SET', TAIL, text:sub(first))
  if counted and get('keep_text') == '1' then mark_chars(block, accepted + #data, counted) end
end
set('accepted_bytes', accepted + #data)
if counted then set('counted_chars', counted, 'counted_bytes', accepted + #data) end
document.offset, document.utf8_tail = reached, utf8_tail
if complete then close_document(id, document) end
save_document(id, document)
touch()
return told(id)
