-- An open upload ends where it stands, and so do the requests that still bring some of it. A complete document stays
-- as it is; so does one that has another writer than the one who ends it, where one is named.
-- ARGV: document, writer or ''
-- -> {'ok', json, now_ms, expires_ms} | {'document'}
local id, writer = ARGV[1], tonumber(ARGV[2])
if missing() then return NO_SESSION end
local document = load_document(id)
if not document then return {'document'} end
if not document.complete and (not writer or document.writer == writer) then
  close_document(id, document)
  next_writer(id, document)
  touch()
end
return told(id)
