-- ARGV: document, length or '', digest of what is asked for, name or ''
-- -> {'ok', json, now_ms, expires_ms} | {'open', document} | {'crowded', pending documents}
--    | {'reused'} | {'length', declared}
-- A retry with the same id gets the document as it stands, and is its writer from now on.
local id, length, asked, name = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if missing() then return NO_SESSION end
local document = load_document(id)
if document then
  if document.asked ~= asked then return {'reused'} end
  if document.complete then return told(id) end
  local contradicted = contradicted_length(document, length, 0)
  if contradicted then return {'length', contradicted} end
  next_writer(id, document)
  return told(id)
end
if get('open') ~= '' then return {'open', get('open')} end
local waiting = redis.call('ZCARD', BOUNDARIES)
if waiting >= PENDING_DOCUMENTS then return {'crowded', waiting} end

save_document(id, {
  start = number('accepted_bytes'),
  offset = 0,
  length = length or cjson.null,
  complete = false,
  read = false,
  utf8_tail = '',
  writer = 1,
  asked = asked,
  name = name ~= '' and name or nil,
  chars_before = counted_chars(),
})
set('open', id)
redis.call('HINCRBY', SESSION, 'documents', 1)
touch()
return told(id)
