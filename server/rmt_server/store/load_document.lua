-- ARGV: document
-- -> {'ok', json, now_ms, expires_ms} | {'document'}
if missing() or not load_document(ARGV[1]) then return {'document'} end
return told(ARGV[1])
