-- ARGV: etag, revision or '', ttl_ms or '', metadata or ''
-- -> {'ok', record} | {'stale', etag}
local expected, ttl_ms, metadata = unpack(ARGV)
if missing() then return NO_SESSION end
if expected ~= '' and expected ~= etag() and expected ~= get('revision') then return {'stale', etag()} end

if ttl_ms ~= '' then set('ttl_ms', ttl_ms) end
if metadata ~= '' then set('metadata', metadata) end
redis.call('HINCRBY', SESSION, 'edits', 1)
touch()
return {'ok', record()}
