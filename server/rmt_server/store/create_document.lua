-- ARGV: document, length or ''
-- -> {'ok', json} | {'open', document} | {'crowded', pending documents}
-- A retry with the same id gets the document as it stands.
local id, length = unpack(ARGV)
if missing() then return NO_SESSION end
local existing = redis.call('HGET', DOCUMENTS, id)
if existing then return {'ok', existing} end
if get('open') ~= '' then return {'open', get('open')} end
local waiting = redis.call('ZCARD', BOUNDARIES)
if waiting >= PENDING_DOCUMENTS then return {'crowded', waiting} end

local json = save_document(id, {
  start = number('accepted_bytes'),
  offset = 0,
  length = tonumber(length) or cjson.null,
  complete = false,
  read = false,
  utf8_tail = '',
})
set('open', id)
redis.call('HINCRBY', SESSION, 'documents', 1)
touch()
return {'ok', json}
