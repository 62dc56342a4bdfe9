-- An open upload ends where it stands. A complete document stays as it is.
-- ARGV: document
-- -> {'ok', json, now_ms} | {'document'}
local id = ARGV[1]
if missing() then return NO_SESSION end
local document = load_document(id)
if not document then return {'document'} end
if not document.complete then
  close_document(id, document)
  save_document(id, document)
  touch()
end
return {'ok', redis.call('HGET', DOCUMENTS, id), now_ms}
