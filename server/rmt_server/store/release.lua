-- Gives a lease back, where it is still held, and says whether the session has something to read.
-- ARGV: owner, fence ('' and '': only ask)
-- -> {'ok', pending (0 or 1), now_ms}
if missing() then return NO_SESSION end
if held(ARGV[1], ARGV[2]) then redis.call('HDEL', SESSION, 'owner', 'lease_until_ms', 'life') end
return {'ok', pending() and 1 or 0, now_ms}
