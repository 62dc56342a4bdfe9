-- ARGV: entry. Of a session that is gone there is nothing to list.
if missing() then return NO_SESSION end
redis.call('ZADD', SNAPSHOTS, 0, ARGV[1])
touch()
return {'ok'}
