-- A request becomes the document's writer: what older ones still bring is refused from now on.
-- ARGV: document, offset or '', length of the document or '', byte up to which the request reaches
-- -> {'ok', json, now_ms, expires_ms} | {'document'} | {'offset', expected} | {'length', declared}
local id, offset, length, reached = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if missing() then return NO_SESSION end
local document = load_document(id)
if not document then return {'document'} end
if document.complete then return told(id) end
if offset and document.offset ~= offset then return {'offset', document.offset} end
local contradicted = contradicted_length(document, length, reached)
if contradicted then return {'length', contradicted} end

although_full()
next_writer(id, document)
return told(id)
