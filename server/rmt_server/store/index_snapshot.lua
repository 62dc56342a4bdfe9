-- ARGV: entry, id, name, read_bytes, tokens, segments, most that are kept by themselves, or '' for a snapshot that is not.
-- -> {'ok', ids of those that are one too many now}. Of a session that is gone there is nothing to list.
if missing() then return NO_SESSION end
local entry, id, name, position, tokens, segments, most = unpack(ARGV)
local surplus = {}
if redis.call('ZADD', SNAPSHOTS, 0, entry) == 1 then
  publish('snapshot', 'id', id, 'name', name, 'at_bytes', position, 'at_tokens', tokens, 'at_segments', segments)
  if most ~= '' then
    redis.call('RPUSH', ENDS, id)
    while redis.call('LLEN', ENDS) > tonumber(most) do
      table.insert(surplus, redis.call('LPOP', ENDS))
    end
  end
end
touch()
return {'ok', surplus}
