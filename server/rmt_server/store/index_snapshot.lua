-- ARGV: entry, id, name, read_bytes, tokens, segments. Of a session that is gone there is nothing to list.
if missing() then return NO_SESSION end
local entry, id, name, position, tokens, segments = unpack(ARGV)
if redis.call('ZADD', SNAPSHOTS, 0, entry) == 1 then
  publish('snapshot', 'id', id, 'name', name, 'at_bytes', position, 'at_tokens', tokens, 'at_segments', segments)
end
touch()
return {'ok'}
